module;
#include <signal.h>
module load;

namespace load {
namespace {

volatile sig_atomic_t noted = 0;

}  // namespace

void watch_for_interrupts() {
    struct sigaction action{};
    action.sa_handler = [](int) { noted = 1; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGHUP, &action, nullptr);
}

bool interrupted() {
    return noted != 0;
}

}  // namespace load
