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
      home_{home},
      request_{.opcode = Opcode::send_some, .fd = -1} {}

void Sender::abandon() noexcept {
    ensure(!claimed(), "a stream was destroyed while a task sends to it");
    slot_ = nullptr;
    const bool last_chance = in_turn_ == InTurn::posted && loop().running_;
    if (last_chance) {
        home_.remove(*this);
        submit();  // in the queue before the closing
    }
    if ((last_chance && with_kernel()) || stop())
        ++loop().abandoned_;  // the kernel still reads the pieces
    else
        give_back();
}

void Sender::give_back() noexcept {
    drop_pieces();
    home_.remove(*this);
    bytes_ = 0;
    error_ = 0;
    blocked_ = false;
    home_.free_.push(*this);
}

/// Asks for all there is.
void Sender::submit() noexcept {
    asked_ = bytes_;
    // A task that waits for it is to go on at once, not with what happens next.
    const bool quiet = !blocked_ && !awaited();
    if (quiet) home_.enlist(*this, InTurn::quiet);
    if (quiet && count_ == 1 && loop().submit_quiet(*this)) [[likely]]
        return;
    submit_request();
}

/// Asks in the way of what can wait, or has several pieces.
void Sender::submit_request() noexcept {
    request_.fd = socket_;
    request_.quiet = in_turn_ == InTurn::quiet;
    request_.flags = MSG_NOSIGNAL | (request_.quiet ? Driver::quietly : 0);
    if (count_ == 1) {
        request_.opcode = Opcode::send_some;
        request_.address = pieces_[first_].bytes().data();
        request_.length = bytes_;
    } else {
        for (std::uint32_t i = 0; i < count_; ++i) {
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
    arm();
}

/// Asks for the one piece there is, in the way of almost all sends.
bool Loop::submit_quiet(Sender& sender) noexcept {
    const auto bytes = sender.pieces_[sender.first_].bytes();
    if (!driver_.send_quietly(sender.socket_, bytes, sender.tag())) return false;
    sender.state_ = Multishot::State::armed;
    ++receiving_;
    return true;
}

/// Takes the kernel's answer, at most one a request.
void Sender::complete(int result, std::uint32_t /*flags*/) noexcept {
    home_.remove(*this);
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

/// Takes note that all that was asked for has been sent.
void Sender::gone() noexcept {
    if (slot_ == nullptr || claimed() || count_ > 1 || bytes_ > asked_) [[unlikely]]
        return complete(static_cast<int>(asked_), 0);
    pieces_[first_].release();
    count_ = 0;
    bytes_ = 0;
    slot_->sender_ = nullptr;
    home_.free_.push(*this);
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

void Senders::make_one() {
    all_.push_back(std::make_unique<Sender>(loop_, *this));
    for (List* list : {&free_, &posted_, &quiet_}) list->members.resize(all_.capacity());
    free_.push(*all_.back());
}

/// Takes `sender` out of the list it is in, if it is in one.
void Senders::remove(Sender& sender) noexcept {
    if (sender.in_turn_ == Sender::InTurn::no) return;
    List& list = sender.in_turn_ == Sender::InTurn::posted ? posted_ : quiet_;
    ensure(sender.place_ < list.count && list.members[sender.place_] == &sender,
           "a sender is not where it was put");
    Sender& last = list.pop();
    last.place_ = sender.place_;
    list.members[sender.place_] = &last;
    sender.in_turn_ = Sender::InTurn::no;
}

void Senders::submit() noexcept {
    for (std::uint32_t i = 0; i < posted_.count; ++i) {
        Sender& sender = *posted_.members[i];
        sender.in_turn_ = Sender::InTurn::no;
        sender.submit();
    }
    posted_.count = 0;
}

void Senders::settle() noexcept {
    const std::uint32_t submitted = std::exchange(quiet_.count, 0);
    for (std::uint32_t i = 0; i < submitted; ++i) {
        Sender& sender = *quiet_.members[i];
        sender.in_turn_ = Sender::InTurn::no;
        if (sender.with_kernel()) [[likely]]
            loop_.settle(sender);
        else
            enlist(sender, Sender::InTurn::quiet);  // it still waits for room
    }
}

void Loop::settle(Sender& sender) noexcept {
    ended(sender);
    sender.gone();
}

}  // namespace ringfort::uring
