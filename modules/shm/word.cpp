module ringfort.shm;

namespace ringfort::shm {

#ifdef RINGFORT_SHM_STEPS
namespace {
void (*current_hook)() = nullptr;
}

void set_step_hook(void (*hook)()) noexcept {
    current_hook = hook;
}

void step() noexcept {
    if (current_hook != nullptr) current_hook();
}
#endif

}  // namespace ringfort::shm
