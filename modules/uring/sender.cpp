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
    ensure(!sender().claimed(), "two tasks send to one stream");
    if (context.cancelled()) return refuse();
    (void)wait(task, context);
    if (sender().holds(until_)) sender().wake();  // it has had its share of what is ready at once
    return true;
}

Error PostOperation::failure() const noexcept {
    return interrupted() ? interruption("send") : Error{"send", sender().error_};
}

Sender::Sender(Loop& loop, Senders& home) noexcept
    : Multishot{loop, Taker::sender},
      request_{.opcode = Opcode::send_some, .fd = -1},
      home_{home} {}

void Sender::abandon() noexcept {
    ensure(!claimed(), "a stream was destroyed while a task sends to it");
    slot_ = nullptr;
    const bool last_chance = coro::ListNode<Sender>::linked() && !armed() && loop().running_;
    if (last_chance) {
        coro::ListNode<Sender>::unlink();
        submit();  // in the queue before the closing
    }
    if ((last_chance && with_kernel()) || stop())
        ++loop().abandoned_;  // the kernel still reads the pieces
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
    // A task that waits for it is to go on at once, not with what happens next.
    request_.quiet = !blocked_ && !awaited();
    request_.flags = MSG_NOSIGNAL | (request_.quiet ? MSG_DONTWAIT | MSG_WAITALL : 0);
    asked_ = bytes_;
    if (request_.quiet) home_.quiet_.push_back(*this);
    arm();
}

/// Takes the kernel's answer, at most one a request.
void Sender::complete(int result, std::uint32_t /*flags*/) noexcept {
    coro::ListNode<Sender>::unlink();
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
    if (awaited() && holds(static_cast<PostOperation*>(waiter())->until_)) wake();
    if (count_ > 0) {
        blocked_ = true;
        submit();
    } else if (!claimed()) {
        rest();
    }
}

void Sender::advance(std::size_t sent) noexcept {
    ensure(sent <= bytes_, "more was sent than was posted");
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
    return sender;
}

void Senders::submit() noexcept {
    while (Sender* sender = posted_.pop_front()) sender->submit();
}

void Senders::settle() noexcept {
    coro::List<Sender> unsubmitted;
    while (Sender* sender = quiet_.pop_front()) {
        if (sender->with_kernel())
            loop_.settle(*sender);
        else
            unsubmitted.push_back(*sender);
    }
    while (Sender* sender = unsubmitted.pop_front()) quiet_.push_back(*sender);
}

void Loop::settle(Sender& sender) noexcept {
    ended(sender);
    sender.complete(static_cast<int>(sender.asked_), 0);
}

}  // namespace ringfort::uring
