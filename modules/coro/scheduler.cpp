module;
#include <chrono>
#include <coroutine>
#include <cstddef>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

void Scheduler::begin_turn(Instant instant) noexcept {
    time_ = instant;
    (void)timers_.fire(instant);
}

std::size_t Scheduler::run(Budget budget) {
    constexpr std::size_t look_every = 16;
    const Instant end = now() + budget.time;
    std::size_t resumed = 0;
    while (!ready_.empty() && resumed < budget.resumptions) {
        ++resumed;
        units_ = limits::completions_per_resumption;
        ready_.pop().handle.resume();
        if (resumed % look_every == 0 && now() >= end) break;
    }
    return resumed;
}

}  // namespace ringfort::coro
