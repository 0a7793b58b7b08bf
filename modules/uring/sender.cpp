module;
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

bool PostOperation::begin(std::coroutine_handle<> task, const coro::Context& context) {
    if (context.cancelled()) {
        state_ = State::cancelled;
        return false;
    }
    resumption_.prepare(task, context);
    if (holds()) {
        state_ = State::done;  // it has had its share of what is ready at once
        context.scheduler->push(resumption_);
        return true;
    }
    Sender& sender = *slot_.sender_;
    ensure(sender.waiter_ == nullptr, "two tasks send to one stream");
    state_ = State::waiting;
    sender.waiter_ = this;
    if (context.cancel != nullptr) context.cancel->attach(*this);
    if (limit_.count() >= 0)
        context.scheduler->timers().arm(*this, context.scheduler->after(limit_));
    return true;
}

void PostOperation::end(State state) noexcept {
    state_ = state;
    slot_.sender_->waiter_ = nullptr;
    CancelHook::unlink();
    disarm();
    senders_.scheduler_.push(resumption_);
}

Error PostOperation::failure() const noexcept {
    if (state_ == State::cancelled) return Error{"send", std::errc::operation_canceled};
    if (state_ == State::timed_out) return Error{"send", std::errc::timed_out};
    return Error{"send", slot_.sender_->error_};
}

Sender::Sender(Loop& loop, Senders& home) noexcept
    : Multishot{loop, Taker::sender},
      request_{.opcode = Opcode::send_some, .fd = -1},
      home_{home} {}

void Sender::abandon() noexcept {
    ensure(waiter_ == nullptr, "a stream was destroyed while a task sends to it");
    slot_ = nullptr;
    if (stop())
        ++loop().abandoned_;  // the kernel may still read the pieces
    else
        give_back();
}

void Sender::give_back() noexcept {
    drop_pieces();
    coro::ListNode<Sender>::unlink();
    bytes_ = 0;
    error_ = 0;
    blocked_ = false;
    home_.free_.push_back(this);
}

/// Asks for all there is.
void Sender::submit() noexcept {
    if (count_ == 1) [[likely]] {
        request_.opcode = Opcode::send_some;
        request_.address = pieces_[first_].bytes().data();
        request_.length = bytes_;
    } else {
        for (std::size_t i = 0; i < count_; ++i) {
            const auto bytes = piece(i).bytes();
            window_[i] = {.iov_base = const_cast<std::byte*>(bytes.data()),
                          .iov_len = bytes.size()};
        }
        message_ = {};
        message_.msg_iov = window_.data();
        message_.msg_iovlen = count_;
        request_.opcode = Opcode::send_message;
        request_.address = &message_;
    }
    prompt_ = !blocked_ && waiter_ == nullptr && bytes_ <= limits::prompt_send.count;
    request_.flags = MSG_NOSIGNAL | (prompt_ ? MSG_DONTWAIT : 0);
    arm();
}

/// Takes the kernel's answer, which comes once a request.
void Sender::complete(int result, std::uint32_t /*flags*/) noexcept {
    if (slot_ == nullptr) {
        --loop().abandoned_;
        return give_back();
    }
    if (result > 0) {
        advance(static_cast<std::size_t>(result));
    } else if (result != -EAGAIN && result != -EINTR) {
        error_ = result == 0 ? EPIPE : -result;
        drop_pieces();
        if (SendFailureHook* const hook = std::exchange(slot_->hook_, nullptr))
            hook->action_(*hook, Error{"send", error_});
    }
    if (waiter_ != nullptr && holds(waiter_->until_)) waiter_->end(PostOperation::State::done);
    if (count_ > 0) {
        blocked_ = prompt_ || blocked_;
        submit();
    } else if (error_ == 0 && waiter_ == nullptr) {
        slot_->sender_ = nullptr;
        give_back();
    }
}

void Sender::advance(std::size_t sent) noexcept {
    bytes_ -= sent;
    while (sent > 0) {
        Lease& front = pieces_[first_];
        if (sent < front.size()) return front.remove_prefix(sent);
        sent -= front.size();
        front.release();
        first_ = (first_ + 1) % most_pieces;
        --count_;
    }
}

void Sender::drop_pieces() noexcept {
    for (; count_ > 0; --count_) piece(count_ - 1).release();
}

Sender& Senders::take(SenderSlot& slot, RawFd socket) {
    if (free_.empty()) [[unlikely]] {
        all_.push_back(std::make_unique<Sender>(loop_, *this));
        free_.reserve(all_.capacity());
        free_.push_back(all_.back().get());
    }
    Sender& sender = *free_.back();
    free_.pop_back();
    sender.slot_ = &slot;
    sender.request_.fd = socket;
    slot.sender_ = &sender;
    return sender;
}

void Senders::submit() noexcept {
    while (Sender* sender = posted_.pop_front()) sender->submit();
}

}  // namespace ringfort::uring
