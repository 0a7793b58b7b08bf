module;
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {

/// Tells whether a request that moved a part is asked for the rest.
bool moves_all(Opcode opcode) noexcept {
    return opcode == Opcode::send || opcode == Opcode::send_pieces ||
           opcode == Opcode::send_zero_copy || opcode == Opcode::read_all ||
           opcode == Opcode::write_all;
}

/// Tells whether an error concerns sending without a copy, and not the connection.
bool copying_may_do(int result) noexcept {
    return result == -EOPNOTSUPP || result == -EINVAL || result == -ENOBUFS || result == -ENOMEM;
}

}  // namespace

Operation::Operation(Loop& loop, const Request& request, std::optional<Milliseconds> limit) noexcept
    : CancelHook{[](CancelHook& self) noexcept { static_cast<Operation&>(self).stop(); }},
      Timer{[](Timer& self) noexcept { static_cast<Operation&>(self).expire(); }},
      loop_{loop},
      request_{request},
      limit_{limit.value_or(Milliseconds{-1})} {}

Operation::~Operation() {
    ensure(!begun(), "an operation in flight was destroyed");
    ensure(state_ != State::answered, "an operation was destroyed before its task went on");
}

bool Operation::cancelled() const noexcept {
    return result_ == -ECANCELED || state_ < State::answered;
}

bool Operation::begin(std::coroutine_handle<> task, const coro::Context& context) {
    ensure(state_ == State::idle, "an operation was awaited twice");
    if (context.cancelled()) {
        state_ = State::done;
        result_ = -ECANCELED;
        return false;
    }
    resumption_.prepare(task, context);
    if (context.cancel != nullptr) context.cancel->attach(*this);
    if (limit_.count() >= 0)
        context.scheduler->timers().arm(*this, context.scheduler->after(limit_));
    loop_.submit(*this);
    return true;
}

void Operation::stop() noexcept {
    if (!begun() || std::exchange(stopping_, true)) return;
    if (state_ == State::waiting) {
        coro::ListNode<Operation>::unlink();
        finish(-ECANCELED);
    } else if (state_ == State::in_flight) {
        loop_.cancel(*this);
    }
}

/// Takes the kernel's answer; asks again where it did not do all it was asked for.
void Operation::complete(int result) noexcept {
    if (unfinished(result)) [[unlikely]] {
        if (!stopping_) return loop_.submit(*this);
        result = -ECANCELED;
    }
    finish(result);
}

/// Notes what has been done, and tells whether the rest is to be asked for.
bool Operation::unfinished(int result) noexcept {
    // Also how a kernel thread that was working on it says that it was cancelled.
    if (result == -EINTR) [[unlikely]]
        return request_.opcode != Opcode::close;
    if (result > 0) return moves_all(request_.opcode) && !advance(static_cast<std::size_t>(result));
    const bool copy = request_.opcode == Opcode::send_zero_copy && copying_may_do(result);
    if (copy) [[unlikely]]
        request_.opcode = Opcode::send;
    return copy;
}

/// Notes that bytes have moved; returns whether that was all.
bool Operation::advance(std::size_t moved) noexcept {
    if (request_.opcode == Opcode::send_pieces)
        return static_cast<GatheredSend*>(this)->advance_pieces(moved);
    request_.address = static_cast<const std::byte*>(request_.address) + moved;
    request_.length -= moved;
    if (request_.offset != Request::at_position) request_.offset += moved;
    return request_.length == 0;
}

void Operation::finish(int result) noexcept {
    state_ = State::answered;
    result_ = result == -ECANCELED && timed_out_ ? -ETIMEDOUT : result;
    CancelHook::unlink();
    disarm();
    coro::ListNode<Operation>::unlink();
    loop_.scheduler().push(resumption_);
}

}  // namespace ringfort::uring
