module ringfort.coro;

namespace ringfort::coro {

CancelSource::CancelSource(CancelSource* parent) noexcept
    : CancelHook{[](CancelHook& self) noexcept { static_cast<CancelSource&>(self).request(); }} {
    if (parent != nullptr) parent->attach(*this);
}

void CancelSource::request() noexcept {
    if (requested_) return;
    requested_ = true;
    // A hook is out of the list before it fires: it may destroy its neighbours or itself.
    while (CancelHook* hook = hooks_.pop_front()) hook->action_(*hook);
}

}  // namespace ringfort::coro
