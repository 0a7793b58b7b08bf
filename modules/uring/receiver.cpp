module;
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

namespace {

/// Has a socket say with each receive how much is left in it; only one of TCP can. Source: tcp(7),
/// Linux's tcp_inq_hint.
bool counts_what_is_left(RawFd socket) noexcept {
    const int on = 1;
    return ::setsockopt(socket, IPPROTO_TCP, TCP_INQ, &on, sizeof on) == 0;
}

struct Received {
    int result;  ///< bytes, 0 for the end, or -errno
    bool all;    ///< nothing is left, which a receive that leaves room does not tell: it ends at
                 ///< urgent data of TCP and at descriptors of unix sockets
};

/// Receives what is there. `counts` tells whether the socket says how much is left.
Received receive_now(RawFd socket, std::span<std::byte> room, bool counts) noexcept {
    iovec piece{.iov_base = room.data(), .iov_len = room.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control;  // NOLINT: filled
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    ssize_t count = 0;
    do {
        // Descriptors would be taken into room that is offered to a unix socket.
        message.msg_control = counts ? control.data() : nullptr;
        message.msg_controllen = counts ? control.size() : 0;
        count = ::recvmsg(socket, &message, MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return {.result = -errno, .all = false};
    int left = 1;
    if (const cmsghdr* const said = counts ? CMSG_FIRSTHDR(&message) : nullptr;
        said != nullptr && said->cmsg_level == IPPROTO_TCP && said->cmsg_type == TCP_CM_INQ)
        std::memcpy(&left, CMSG_DATA(said), sizeof left);
    return {.result = static_cast<int>(count), .all = left == 0};
}

}  // namespace

bool ReceiveOperation::begin(std::coroutine_handle<> task, const coro::Context& context) {
    const Receiver& from = receiver();
    if (from.claimed() || context.cancelled() || from.ready() || !from.asked()) [[unlikely]]
        return begin_otherwise(task, context);
    return wait(task, context);
}

/// Begins where the kernel has not been asked, or something else than bytes is to be looked at.
[[gnu::noinline]] bool ReceiveOperation::begin_otherwise(std::coroutine_handle<> task,
                                                         const coro::Context& context) {
    Receiver& from = receiver();
    ensure(!from.claimed(), "two tasks receive from one stream");
    if (context.cancelled()) return refuse();
    const bool rest = what_ == ReceiveWhat::rest;
    if (from.ready() || (rest && !from.armed())) return pass(task, context);
    if (!rest && !from.asked()) from.ask();
    (void)wait(task, context);
    if (!rest) from.receive_soon();
    return true;
}

/// What there is but bytes that arrived while the task waited: those that arrived before it, or
/// after its waiting was ended, are the receiver's.
Result<Lease> ReceiveOperation::outcome() noexcept {
    if (interrupted()) return interruption("receive");
    return receiver().take();
}

Receiver::~Receiver() {
    drop_pieces();
}

void Receiver::close(Fd socket) noexcept {
    ensure(!claimed(), "a stream was destroyed while a task receives from it");
    closed_ = true;
    drop_pieces();
    const bool answered = stop();  // before the descriptor's number can be another's
    if (answered) ++loop().abandoned_;
    loop().close(std::move(socket));
    if (!answered) delete this;
}

void Receiver::pause() noexcept {
    paused_ = true;
    readable_ = Readable::no;
    (void)stop();
}

[[clang::preserve_most]] void Receiver::ask() noexcept {
    paused_ = false;
    if (!ended_) rearm();
}

/// Asks the kernel, unless it has been asked: where there is no buffer to pick, not to fail before
/// there is something to put into one.
void Receiver::rearm() noexcept {
    if (armed() || readable_ != Readable::no) return;
    const std::uint8_t enough = polled_  ? 1
                                : turns_ ? limits::direct_after / 2  // some small ones came on
                                         : limits::direct_after;
    turns_ = false;
    const bool directly = weight_ >= enough && loop().crowd_.crowded();
    polled_ = directly && loop().buffers_.lends();
    if (polled_) counts_ = counts_what_is_left(socket_);
    hungry_ = !polled_ && !loop().buffers_.replenish();
    arm();
}

Request Receiver::request() const noexcept {
    if (polled_) return {.opcode = Opcode::poll_many, .fd = socket_, .flags = POLLIN | POLLRDHUP};
    static_assert(limits::receive_burst > limits::receive_ahead);  // of which half at most is kept
    const bool bounded = loop().features().bounded_receives;
    const Bytes burst = loop().buffers_.scarce() ? limits::receive_ahead : limits::receive_burst;
    return {.opcode = Opcode::receive_many,
            .fd = socket_,
            .length = bounded ? burst.count - bytes_ : 0,
            .offset = BufferPool::group,
            .flags = hungry_ ? IORING_RECVSEND_POLL_FIRST : 0U};
}

void Receiver::complete(int result, std::uint32_t flags) noexcept {
    if (polled_) [[unlikely]]
        return readable(result, flags);
    if ((flags & IORING_CQE_F_BUFFER) != 0) [[likely]] {
        const auto length = result > 0 ? static_cast<std::size_t>(result) : 0;
        Lease lease = loop().buffers_.consume(flags, length);
        if (length >= limits::direct_transfer.count || weight_ > 0) [[unlikely]]
            weigh(length);
        if (awaited() && first_ == nullptr && !lease.empty()) [[likely]] {
            static_cast<ReceiveOperation*>(waiter())->lease_.fill(lease);
            wake_waiter();
        } else if (!lease.empty()) {
            arrived_early(std::move(lease));
        }
    }
    if ((flags & IORING_CQE_F_MORE) == 0) return completed_last(result);
    if (watch_ != Watch::fresh) [[unlikely]]
        watch();
}

/// Has it looked at when nothing follows what has just come.
[[clang::preserve_most]] void Receiver::watch() noexcept {
    if (delivering() && watch_ == Watch::none) loop().watch(*this);
    watch_ = Watch::fresh;
}

/// Keeps bytes that nobody waits for yet, or drops those that nobody will.
[[clang::preserve_most]] void Receiver::arrived_early(Lease arrived) noexcept {
    if (closed_) return;
    keep(std::move(arrived));
    if (bytes_ >= limits::receive_ahead.count) (void)stop();
    wake();
}

/// The kernel has ended the request: for good, or so that it has to be asked again.
void Receiver::completed_last(int result) noexcept {
    watch_ = Watch::none;
    readable_ = Readable::no;  // unless it is polled again, and tells so
    if (closed_) {
        --loop().abandoned_;
        delete this;
        return;
    }
    if (awaited() && static_cast<ReceiveOperation*>(waiter())->what_ == ReceiveWhat::rest) wake();
    if (ended_) return;  // was received by another call
    const bool again = result > 0 || result == -ENOBUFS || result == -ECANCELED || result == -EINTR;
    if (!again) {
        ended_ = true;
        end_ = result;
        return wake();
    }
    if (result == -ENOBUFS && fed()) return;
    if (!awaited() && (paused_ || ahead())) return;
    if (result == -ENOBUFS && !hungry_)
        loop().wait_for_buffers(*this);
    else
        rearm();
}

/// The kernel has found no buffer. Reports whether nothing is to be asked of it for now.
bool Receiver::fed() noexcept {
    ++loop().statistics_.starved;
    if (!hungry_ || loop().buffers_.replenish()) return false;
    // There are bytes. Those that nobody waits for can stay where they are.
    return !awaited() || receive_copy();
}

/// Receives into memory of its own what a task waits for; returns false when there is nothing.
bool Receiver::receive_copy() noexcept {
    std::array<std::byte, limits::starved_receive.count> bytes;  // NOLINT: filled by the kernel
    ssize_t count = 0;
    do count = ::recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    if (count < 0 && errno == EAGAIN) return false;
    if (count > 0) {
        const std::span received{bytes.data(), static_cast<std::size_t>(count)};
        static_cast<ReceiveOperation*>(waiter())->lease_ = loop().buffers_.lease_copy(received);
    } else {
        ended_ = true;
        end_ = count < 0 ? -errno : 0;
    }
    wake();
    return true;
}

/// Takes note of a receive: whether the next ones are to be like it.
[[clang::preserve_most]] void Receiver::weigh(std::size_t bytes) noexcept {
    Crowd& crowd = loop().crowd_;
    if (bytes >= limits::direct_transfer.count) {
        crowd.join(counted_in_);
        weight_ = std::min<std::uint8_t>(weight_ + 2, limits::direct_after);
    } else if (weight_ > 0) {
        --weight_;
    }
    const bool crowded = crowd.crowded();
    const bool heavy = weight_ == limits::direct_after && crowded && loop().buffers_.lends();
    const bool other = polled_ ? weight_ == 0 || !crowded : heavy;
    if (!other || !delivering()) return;
    turns_ = !polled_;
    (void)stop();  // and asked anew, for the other
}

/// The kernel says that there is something, or no more whether there is. Where it says both, it is
/// asked again when that has been received.
[[clang::preserve_most]] void Receiver::readable(int result, std::uint32_t flags) noexcept {
    if (result > 0 && !paused_ && !closed_) {
        const bool last = (result & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
        readable_ = last ? Readable::to_its_end : Readable::some;
        if (awaited()) receive_soon();
    } else if ((flags & IORING_CQE_F_MORE) == 0) {
        completed_last(result);
    }
}

/// Has a task that waits receive what there is, in its turn. Not while the kernel is asked to end
/// the poll: what it is asked for next tells of the same.
void Receiver::receive_soon() noexcept {
    if (readable_ != Readable::no && (delivering() || !armed())) loop().receive_later(*this);
}

/// Receives what a task waits for, if it is there.
void Receiver::receive_directly() noexcept {
    if (!awaited()) return;  // it comes back when it waits again
    Lease lease = loop().buffers_.borrow();
    if (lease.empty()) {
        weight_ = 0;  // the kernel may have one
        readable_ = Readable::no;
        if (!stop()) rearm();
        return;
    }
    waiter()->fetch();                                            // while the kernel copies
    std::byte* const room = const_cast<std::byte*>(lease.data_);  // nobody else's now
    const Received received = receive_now(socket_, {room, lease.size_}, counts_);
    ++loop().statistics_.direct;
    if (received.result == -EAGAIN) {  // not where the kernel has told of an end
        readable_ = Readable::no;
        return rearm();
    }
    if (received.result <= 0) {
        ended_ = true;
        end_ = received.result;
        (void)stop();
        return wake();
    }
    const auto length = static_cast<std::uint32_t>(received.result);
    // Of what comes later the kernel tells again.
    if (received.all && readable_ == Readable::some) readable_ = Readable::no;
    lease.size_ = length;
    static_cast<ReceiveOperation*>(waiter())->lease_.fill(lease);
    wake_waiter();
    weigh(length);
}

void Receiver::keep(Lease arrived) noexcept {
    bytes_ += arrived.size();
    if (last_ != nullptr) {
        Lease& last = last_->lease;
        if (last.id_ == arrived.id_ && last.data_ + last.size_ == arrived.data_) {
            last.size_ += arrived.size_;
            return;
        }
    }
    Piece* const piece = loop().pieces_.take();
    piece->lease = std::move(arrived);
    (last_ != nullptr ? last_->next : first_) = piece;
    last_ = piece;
}

void Receiver::drop_pieces() noexcept {
    while (first_ != nullptr) (void)take();
}

Result<Lease> Receiver::take() noexcept {
    if (first_ == nullptr) {
        if (const auto error = failure()) return *error;
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
