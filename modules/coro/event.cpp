module;
#include <coroutine>
#include <system_error>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

void Event::set() noexcept {
    set_ = true;
    while (Waiter* waiting = waiting_.pop_front()) waiting->wake();
}

bool Event::Wait::begin(std::coroutine_handle<> task, const Context& context) noexcept {
    return event_.set_ ? pass(task, context) : wait(task, context, event_.waiting_);
}

Result<void> Event::Wait::await_resume() noexcept {
    if (resumed_cancelled()) return Error{"wait for an event", std::errc::operation_canceled};
    return {};
}

}  // namespace ringfort::coro
