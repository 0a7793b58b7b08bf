module;
#include <linux/io_uring.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {

/// Errors that concern sending without a copy, and not the connection.
bool copying_may_do(int result) noexcept {
    return result == -EOPNOTSUPP || result == -EINVAL || result == -ENOBUFS || result == -ENOMEM;
}

}  // namespace

ZeroCopySend::ZeroCopySend(Loop& loop, RawFd socket, std::span<const std::byte> bytes,
                           std::optional<Milliseconds> limit) noexcept
    : Multishot{loop,
                {.opcode = loop.features().zero_copy ? Opcode::send_zero_copy : Opcode::send,
                 .fd = socket,
                 .address = bytes.data(),
                 .length = bytes.size(),
                 .flags = MSG_NOSIGNAL | MSG_WAITALL},
                [](Multishot& self, int result, std::uint32_t flags) noexcept {
                    static_cast<ZeroCopySend&>(self).take(result, flags);
                }},
      CancelHook{[](CancelHook& self) noexcept { static_cast<ZeroCopySend&>(self).cancel(); }},
      Timer{[](Timer& self) noexcept {
          auto& send = static_cast<ZeroCopySend&>(self);
          send.timed_out_ = true;
          send.cancel();
      }},
      limit_{limit.value_or(Milliseconds{-1})} {}

ZeroCopySend::~ZeroCopySend() {
    ensure(state_ != State::waiting, "a send in flight was destroyed");
}

bool ZeroCopySend::begin(std::coroutine_handle<> task, const coro::Context& context) {
    ensure(state_ == State::idle, "an operation was awaited twice");
    if (context.cancelled()) {
        state_ = State::done;
        result_ = -ECANCELED;
        return false;
    }
    state_ = State::waiting;
    resumption_.prepare(task, context);
    if (context.cancel != nullptr) context.cancel->attach(*this);
    if (limit_.count() >= 0)
        context.scheduler->timers().arm(*this, context.scheduler->after(limit_));
    arm();
    return true;
}

void ZeroCopySend::cancel() noexcept {
    if (std::exchange(stopping_, true)) return;
    // Sent already, or never submitted: nothing is to be cancelled in the kernel.
    if (!stop()) finish(-ECANCELED);
}

/// Takes the result, and then the notification that the bytes are the sender's again.
void ZeroCopySend::take(int result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_NOTIF) == 0) {
        result_ = result;
        if (result > 0) {
            request_.address = static_cast<const std::byte*>(request_.address) + result;
            request_.length -= static_cast<std::size_t>(result);
        }
    }
    if ((flags & IORING_CQE_F_MORE) == 0) conclude();
}

void ZeroCopySend::conclude() noexcept {
    if (result_ >= 0 && request_.length == 0) return finish(0);
    const bool copy = request_.opcode == Opcode::send_zero_copy && copying_may_do(result_);
    const bool again = copy || result_ > 0 || result_ == -EINTR;
    if (!again || stopping_) return finish(again ? -ECANCELED : result_);
    if (copy) request_.opcode = Opcode::send;
    arm();
}

void ZeroCopySend::finish(int result) noexcept {
    state_ = State::done;
    result_ = result == -ECANCELED && timed_out_ ? -ETIMEDOUT : result;
    CancelHook::unlink();
    disarm();
    loop().scheduler().push(resumption_);
}

Result<void> ZeroCopySend::await_resume() const noexcept {
    if (result_ < 0) return Error{step_of(request_.opcode), -result_};
    return {};
}

}  // namespace ringfort::uring
