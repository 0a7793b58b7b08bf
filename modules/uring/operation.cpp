module;
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

Operation::Operation(Loop& loop, const Request& request, std::optional<Milliseconds> limit) noexcept
    : CancelHook{[](CancelHook& self) noexcept { static_cast<Operation&>(self).stop(); }},
      Timer{[](coro::Timer& self) noexcept {
          auto& operation = static_cast<Operation&>(self);
          operation.timed_out_ = true;
          operation.stop();
      }},
      loop_{loop},
      request_{request},
      limit_{limit} {}

Operation::~Operation() {
    ensure(state_ == State::idle || state_ == State::done, "an operation in flight was destroyed");
}

bool Operation::begin(std::coroutine_handle<> task, const coro::Context& context) {
    if (context.cancelled()) {
        result_ = -ECANCELED;
        return false;
    }
    resumption_.prepare(task, context);
    if (context.cancel != nullptr) context.cancel->attach(*this);
    if (limit_) loop_.scheduler().timers().arm(*this, loop_.scheduler().time() + *limit_);
    loop_.submit(*this);
    return true;
}

void Operation::stop() noexcept {
    if (std::exchange(stopping_, true)) return;
    if (state_ == State::waiting) {
        coro::ListNode<Operation>::unlink();
        finish(-ECANCELED);
    } else if (state_ == State::in_flight) {
        loop_.cancel(*this);
    }
}

void Operation::finish(int result) noexcept {
    state_ = State::done;
    result_ = result == -ECANCELED && timed_out_ ? -ETIMEDOUT : result;
    CancelHook::unlink();
    disarm();
    coro::ListNode<Operation>::unlink();
    loop_.scheduler().push(resumption_);
}

Result<Lease> ReceiveOperation::await_resume() noexcept {
    if (result() < 0) return error();
    return std::move(lease());
}

Sleep::Sleep(Loop& loop, Milliseconds duration) noexcept
    : CancelHook{[](CancelHook& hook) noexcept {
          auto& self = static_cast<Sleep&>(hook);
          self.cancelled_ = true;
          self.end();
      }},
      Timer{[](coro::Timer& timer) noexcept { static_cast<Sleep&>(timer).end(); }},
      loop_{loop},
      duration_{duration} {}

bool Sleep::begin(std::coroutine_handle<> task, const coro::Context& context) {
    cancelled_ = context.cancelled();
    if (cancelled_) return false;
    resumption_.prepare(task, context);
    if (context.cancel != nullptr) context.cancel->attach(*this);
    loop_.scheduler().timers().arm(*this, loop_.scheduler().time() + duration_);
    return true;
}

void Sleep::end() noexcept {
    CancelHook::unlink();
    disarm();
    loop_.scheduler().push(resumption_);
}

Result<void> Sleep::await_resume() const noexcept {
    if (cancelled_) return Error{"sleep", std::errc::operation_canceled};
    return {};
}

}  // namespace ringfort::uring
