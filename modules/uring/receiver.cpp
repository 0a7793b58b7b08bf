module;
#include <liburing.h>

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

ReceiveOperation::ReceiveOperation(Receiver& receiver, std::optional<Milliseconds> limit,
                                   ReceiveWhat what) noexcept
    : CancelHook{[](CancelHook& self) noexcept {
          static_cast<ReceiveOperation&>(self).end(State::cancelled);
      }},
      Timer{
          [](Timer& self) noexcept { static_cast<ReceiveOperation&>(self).end(State::timed_out); }},
      receiver_{receiver},
      limit_{limit.value_or(Milliseconds{-1})},
      what_{what} {}

ReceiveOperation::~ReceiveOperation() {
    ensure(state_ != State::waiting, "a receive was destroyed while it waits");
}

bool ReceiveOperation::begin(std::coroutine_handle<> task, const coro::Context& context) {
    ensure(receiver_.waiter_ == nullptr, "two tasks receive from one stream");
    if (context.cancelled()) {
        state_ = State::cancelled;
        return false;
    }
    resumption_.prepare(task, context);
    const bool rest = what_ == ReceiveWhat::rest;
    if (receiver_.ready() || (rest && !receiver_.armed())) {
        state_ = State::done;
        if (context.scheduler->spend()) return false;
        context.scheduler->push(resumption_);
        return true;
    }
    state_ = State::waiting;
    receiver_.waiter_ = this;
    if (!rest) receiver_.ask();
    if (context.cancel != nullptr) context.cancel->attach(*this);
    if (limit_.count() >= 0)
        context.scheduler->timers().arm(*this, context.scheduler->after(limit_));
    return true;
}

void ReceiveOperation::end(State state) noexcept {
    state_ = state;
    receiver_.waiter_ = nullptr;
    CancelHook::unlink();
    disarm();
    receiver_.loop().scheduler().push(resumption_);
}

Result<Lease> ReceiveOperation::await_resume() noexcept {
    // What arrived between the time limit and this resumption is there for the next receive.
    if (state_ == State::cancelled) return Error{"receive", std::errc::operation_canceled};
    if (state_ == State::timed_out) return Error{"receive", std::errc::timed_out};
    if (!lease_.empty()) return std::move(lease_);
    return receiver_.take();
}

Receiver::~Receiver() {
    drop_pieces();
}

void Receiver::close(Fd socket) noexcept {
    ensure(waiter_ == nullptr, "a stream was destroyed while a task receives from it");
    closed_ = true;
    drop_pieces();
    const bool answered = stop();  // before the descriptor's number can be another's
    if (answered) ++loop().abandoned_;
    loop().close(std::move(socket));
    if (!answered) delete this;
}

void Receiver::pause() noexcept {
    paused_ = true;
    (void)stop();
}

void Receiver::ask() noexcept {
    paused_ = false;
    if (!ended_) arm();
}

void Receiver::complete(int result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_BUFFER) != 0)
        arrived(flags, result > 0 ? static_cast<std::size_t>(result) : 0);
    if ((flags & IORING_CQE_F_MORE) == 0) completed_last(result);
}

void Receiver::arrived(std::uint32_t flags, std::size_t length) noexcept {
    const auto bytes = loop().buffers_.consume(flags, length);
    if (length == 0) return;
    const auto id = static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
    if (closed_) {
        (void)loop().buffers_.lease(id, bytes);
        return;
    }
    if (waiter_ != nullptr && first_ == nullptr) [[likely]] {
        waiter_->lease_ = loop().buffers_.lease(id, bytes);
        return wake();
    }
    keep(id, bytes);
    if (bytes_ >= limits::receive_ahead.count) (void)stop();
    if (waiter_ != nullptr) wake();
}

/// The kernel has ended the request: for good, or so that it has to be asked again.
void Receiver::completed_last(int result) noexcept {
    if (closed_) {
        --loop().abandoned_;
        delete this;
        return;
    }
    if (waiter_ != nullptr && waiter_->what_ == ReceiveWhat::rest) wake();
    const bool again = result > 0 || result == -ENOBUFS || result == -ECANCELED || result == -EINTR;
    if (!again) {
        ended_ = true;
        end_ = result;
        if (waiter_ != nullptr) wake();
    } else if (waiter_ != nullptr || (result == -ENOBUFS && !paused_)) {
        if (result == -ENOBUFS)
            arm_with_buffer(loop().buffers_);
        else
            arm();
    }
}

void Receiver::keep(std::uint16_t id, std::span<const std::byte> bytes) noexcept {
    bytes_ += bytes.size();
    if (last_ != nullptr) {
        Lease& lease = last_->lease;
        if (lease.id_ == id && lease.data_ + lease.size_ == bytes.data()) {
            lease.size_ += static_cast<std::uint32_t>(bytes.size());
            return;
        }
    }
    Piece* const piece = loop().pieces_.take();
    piece->lease = loop().buffers_.lease(id, bytes);
    (last_ != nullptr ? last_->next : first_) = piece;
    last_ = piece;
}

void Receiver::drop_pieces() noexcept {
    while (first_ != nullptr) (void)take();
}

void Receiver::wake() noexcept {
    waiter_->end(ReceiveOperation::State::done);
}

Result<Lease> Receiver::take() noexcept {
    if (first_ == nullptr) {
        if (end_ < 0) return Error{"receive", -end_};
        return Lease{};
    }
    Piece* const piece = first_;
    first_ = piece->next;
    if (first_ == nullptr) last_ = nullptr;
    Lease lease = std::move(piece->lease);
    bytes_ -= lease.size();
    loop().pieces_.give_back(piece);
    // Asked to stop because too much waited; it has gone down.
    if (!armed() && !paused_ && !closed_ && bytes_ <= limits::receive_ahead.count / 2) ask();
    return lease;
}

Receiver::Piece* Receiver::Pieces::take() {
    if (free_ == nullptr) {
        blocks_.push_back(std::make_unique<Piece[]>(block));
        for (std::size_t i = 0; i < block; ++i) give_back(&blocks_.back()[i]);
    }
    Piece* const piece = std::exchange(free_, free_->next);
    piece->next = nullptr;
    return piece;
}

}  // namespace ringfort::uring
