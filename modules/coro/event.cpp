module;
#include <coroutine>
#include <system_error>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

void Event::set() noexcept {
    set_ = true;
    while (Waiting* waiting = waiting_.pop_front()) static_cast<Wait*>(waiting)->end();
}

Event::Wait::Wait(Event& event) noexcept
    : CancelHook{[](CancelHook& hook) noexcept {
          auto& self = static_cast<Wait&>(hook);
          self.cancelled_ = true;
          self.Waiting::unlink();
          self.end();
      }},
      event_{event} {}

bool Event::Wait::begin(std::coroutine_handle<> task, const Context& context) noexcept {
    cancelled_ = context.cancelled();
    if (cancelled_) return false;
    scheduler_ = context.scheduler;
    resumption_.prepare(task, context);
    event_.waiting_.push_back(*this);
    if (context.cancel != nullptr) context.cancel->attach(*this);
    return true;
}

void Event::Wait::end() noexcept {
    CancelHook::unlink();
    scheduler_->push(resumption_);
}

Result<void> Event::Wait::await_resume() const noexcept {
    if (cancelled_) return Error{"wait for an event", std::errc::operation_canceled};
    return {};
}

}  // namespace ringfort::coro
