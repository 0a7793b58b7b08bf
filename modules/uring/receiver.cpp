module;
#include <liburing.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

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
    return wait(task, context);
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
    (void)stop();
}

[[clang::preserve_most]] void Receiver::ask() noexcept {
    paused_ = false;
    if (!ended_) rearm();
}

/// Asks the kernel, unless it has been asked: where there is no buffer to pick, not to fail before
/// there is something to put into one.
void Receiver::rearm() noexcept {
    if (armed()) return;
    hungry_ = !loop().buffers_.replenish();
    arm();
}

Request Receiver::request() const noexcept {
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
    if ((flags & IORING_CQE_F_BUFFER) != 0) [[likely]] {
        const auto length = result > 0 ? static_cast<std::size_t>(result) : 0;
        Lease lease = loop().buffers_.consume(flags, length);
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
    if (closed_) {
        --loop().abandoned_;
        delete this;
        return;
    }
    if (awaited() && static_cast<ReceiveOperation*>(waiter())->what_ == ReceiveWhat::rest) wake();
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
