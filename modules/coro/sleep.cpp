module;
#include <algorithm>
#include <chrono>
#include <compare>
#include <coroutine>
#include <system_error>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

Sleep::Sleep(Instant due) noexcept
    : CancelHook{[](CancelHook& hook) noexcept {
          auto& self = static_cast<Sleep&>(hook);
          self.cancelled_ = true;
          self.end();
      }},
      Timer{[](Timer& timer) noexcept { static_cast<Sleep&>(timer).end(); }},
      due_{due} {}

Sleep::Sleep(Milliseconds duration) noexcept : Sleep{Instant{}} {
    duration_ = std::max(duration, Milliseconds{0});
}

Sleep::~Sleep() {
    ensure(scheduler_ == nullptr, "a task that sleeps was destroyed");
}

bool Sleep::begin(std::coroutine_handle<> task, const Context& context) noexcept {
    cancelled_ = context.cancelled();
    if (cancelled_) return false;
    scheduler_ = context.scheduler;
    resumption_.prepare(task, context);
    if (context.cancel != nullptr) context.cancel->attach(*this);
    const bool until = duration_ < Milliseconds{0};
    scheduler_->timers().arm(*this, until ? due_ : scheduler_->after(duration_));
    return true;
}

void Sleep::end() noexcept {
    CancelHook::unlink();
    disarm();
    scheduler_->push(resumption_);
}

Result<void> Sleep::await_resume() noexcept {
    scheduler_ = nullptr;
    if (cancelled_) return Error{"sleep", std::errc::operation_canceled};
    return {};
}

}  // namespace ringfort::coro
