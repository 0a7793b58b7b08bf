module;
#include <sys/socket.h>

#include <algorithm>
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
namespace {

/// Returns how many of `posts` are to be answered although they go well. The kernel does as many
/// deferred works at a time as completions are waited for, but `deferred_works` at least: twice
/// that in a turn, which would never become more. A ring whose work is not deferred has no bound.
std::uint32_t answers_for(std::uint32_t posts, Backend backend, RingMode mode) noexcept {
    if (posts <= limits::deferred_works) return 0;
    if (backend != Backend::io_uring || mode == RingMode::cooperative) return 0;
    return std::min(posts, limits::answered_sends);
}

}  // namespace

Sender& SenderSlot::get(Senders& senders, RawFd socket) {
    if (QuickSend* const send = quick_send()) return senders.take_over(*send);
    if (empty()) set(senders.take(*this, socket));
    return *sender();
}

void SenderSlot::abandon() noexcept {
    if (QuickSend* const send = quick_send()) (void)send->home->take_over(*send);
    Sender& left = *sender();
    clear();
    left.abandon();
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
        blocked_ = false;  // does not wait for room
        submit();          // in the queue before the closing
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
    request_.fd = socket_;
    request_.quiet = quiet;
    request_.flags = MSG_NOSIGNAL | (quiet ? Driver::at_once : 0);
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

Senders::Senders(Loop& loop, coro::Scheduler& scheduler)
    : loop_{loop},
      scheduler_{scheduler},
      quick_sends_{std::make_unique<QuickSend[]>(limits::quick_sends)} {
    for (std::uint32_t i = 0; i < limits::quick_sends; ++i) quick_sends_[i].home = this;
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

[[clang::preserve_most]] void Senders::send_directly(SenderSlot& slot, RawFd socket,
                                                     Lease& piece) noexcept {
    ssize_t sent = 0;
    do sent = ::send(socket, piece.bytes().data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    const int error = sent < 0 && errno != EAGAIN ? errno : 0;
    if (sent > 0) piece.remove_prefix(static_cast<std::size_t>(sent));
    if (piece.empty()) return piece.release();
    Sender& sender = take(slot, socket);
    slot.set(sender);
    sender.push(std::move(piece));
    sender.blocked_ = true;  // its request waits until there is room
    if (error != 0) sender.complete(-error, 0);
}

/// Makes what `send` was to be, or is already, a Sender's.
Sender& Senders::take_over(QuickSend& send) {
    SenderSlot& slot = *std::exchange(send.slot, nullptr);
    Sender& sender = take(slot, send.socket);
    slot.set(sender);
    if (quick_sent_ > 0) {
        loop_.adopt(sender);
        sender.asked_ = send.piece.size();
        send.heir = &sender;
    }
    sender.push(std::move(send.piece));
    return sender;
}

void Senders::submit_quick_sends() noexcept {
    quick_answers_ = 0;
    if (quick_sent_ > 0) return;  // those of an earlier turn, not answered yet
    const std::uint32_t answers = answers_for(quick_count_, loop_.backend(), loop_.features().mode);
    using enum Driver::Answered;
    std::uint32_t sent = 0;
    for (QuickSend& send : quick_sends()) {
        if (send.slot == nullptr) continue;
        if (loop_.submit(send, sent < answers ? always : unless_all_goes)) [[likely]]
            ++sent;
        else
            (void)take_over(send);
    }
    loop_.receiving_ += sent;
    quick_sent_ = sent;
    quick_answers_ = std::min(sent, answers);
    quick_limit_ = 0;
    if (sent == 0) forget_quick_sends();
}

void Senders::settle_quick_sends(bool all_told) noexcept {
    if (quick_count_ == 0 || (quick_sent_ > 0 && !all_told)) return;
    std::uint32_t gone = 0;
    for (QuickSend& send : quick_sends()) {
        if (send.slot != nullptr) [[likely]] {
            send.slot->clear();
            send.piece.release();
            ++gone;
        } else if (Sender* const heir = std::exchange(send.heir, nullptr)) {
            loop_.settle(*heir);
        } else {
            send.piece.release();  // answered; empty where a Sender has taken it over
        }
    }
    loop_.receiving_ -= gone;
    forget_quick_sends();
}

Sender& Senders::answered(QuickSend& send) noexcept {
    Sender& sender = send.slot != nullptr ? take_over(send) : *send.heir;
    send.heir = nullptr;
    --quick_sent_;
    return sender;
}

void Senders::submit() noexcept {
    submit_quick_sends();
    for (std::uint32_t i = 0; i < posted_.count; ++i) {
        Sender& sender = *posted_.members[i];
        sender.in_turn_ = Sender::InTurn::no;
        sender.submit();
    }
    posted_.count = 0;
}

void Senders::settle(bool all_told) noexcept {
    if (all_told) settle_senders();
    settle_quick_sends(all_told);
}

void Senders::settle_senders() noexcept {
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
    sender.complete(static_cast<int>(sender.asked_), 0);
}

bool Loop::submit(QuickSend& send, Driver::Answered answered) noexcept {
    const auto tag = reinterpret_cast<std::uintptr_t>(&send) |
                     static_cast<std::uint64_t>(Multishot::Taker::quick_send);
    return driver_.send_at_once(send.socket, send.piece.bytes(), tag, answered);
}

/// The kernel's answer, which was to be a quick send's, is this sender's.
void Loop::adopt(Sender& sender) noexcept {
    sender.state_ = Multishot::State::armed;
}

}  // namespace ringfort::uring
