module;
#include <liburing.h>
#include <ringfort/try.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {

// What a completion's tag points to, in the lowest bits of the pointer. A tag of 0 is the answer to
// a request that nobody waits for.
constexpr std::uint64_t receiver_bit = 1;

std::uint64_t tag_of(const Operation& operation) noexcept {
    return reinterpret_cast<std::uintptr_t>(&operation);
}

std::uint64_t tag_of(const Receiver& receiver) noexcept {
    return reinterpret_cast<std::uintptr_t>(&receiver) | receiver_bit;
}

}  // namespace

Loop::TrimTimer::TrimTimer(Loop& owner) noexcept
    : Timer{[](Timer& timer) noexcept { static_cast<TrimTimer&>(timer).loop.trim_buffers(); }},
      loop{owner} {}

Result<std::unique_ptr<Loop>> Loop::open(const LoopOptions& options) {
    std::unique_ptr<Loop> loop{new Loop};
    RF_TRY(loop->driver_.open(options.submissions, options.completions, options.features,
                              options.backend));
    RF_TRY(loop->buffers_.open(
        loop->driver_, *loop,
        {.count = options.receive_buffers,
         .max_count = std::max(options.receive_buffers, options.max_receive_buffers),
         .buffer_size = options.receive_buffer_size}));
    loop->message_buffer_options_ = {
        .count = options.message_buffers,
        .max_count = std::max(options.message_buffers, options.max_message_buffers),
        .buffer_size = options.message_buffer_size,
        .group = BufferPool::message_group};
    return loop;
}

Loop::~Loop() {
    ensure(in_flight_ == 0, "a loop was destroyed with operations in flight");
    let_go();
    ensure(receiving_ == 0, "a loop was destroyed before a socket that receives on it");
}

void Loop::run_until_empty(const coro::Scope& scope) {
    ensure(!running_, "a loop was run inside itself");
    running_ = true;
    while (scope.size() > 0) turn();
    running_ = false;
    let_go();
}

/// Lets the kernel close what was closed last, which it does when the receives have ended.
void Loop::let_go() noexcept {
    driver_.flush();
    while (abandoned_ > 0) turn();
}

void Loop::turn() {
    ++statistics_.turns;
    const auto entered = driver_.enter(wait());
    prompt_ = 0;
    ensure(entered.has_value(), entered ? "" : entered.error().text());
    const Instant time = now();
    reap();
    scheduler_.begin_turn(time);
    retry_waiting();
    // Last, so that a turn that ends the loop's task does not wait for anything more.
    scheduler_.run();
}

void Loop::reap() noexcept {
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&driver_.ring(), head, cqe) {
        ++count;
        const std::uint64_t tag = cqe->user_data;
        if ((tag & receiver_bit) != 0) {
            if ((cqe->flags & IORING_CQE_F_MORE) == 0) --receiving_;
            reinterpret_cast<Receiver*>(static_cast<std::uintptr_t>(tag - receiver_bit))
                ->complete(cqe->res, cqe->flags);
        } else if ((tag & multishot_bit) != 0) {
            answer(*reinterpret_cast<Multishot*>(static_cast<std::uintptr_t>(tag - multishot_bit)),
                   cqe->res, cqe->flags);
        } else if (tag != 0) {
            answer(*reinterpret_cast<Operation*>(static_cast<std::uintptr_t>(tag)), cqe->res,
                   cqe->flags);
        }
    }
    ::io_uring_cq_advance(&driver_.ring(), count);
    statistics_.completions += count;
}

void Loop::answer(Operation& operation, int result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_MORE) != 0) [[unlikely]] {
        // Of a send without a copy: a notification follows when the kernel has let go of the bytes.
        operation.result_ = result;
        return;
    }
    --in_flight_;
    operation.complete((flags & IORING_CQE_F_NOTIF) != 0 ? operation.result_ : result);
}

Wait Loop::wait() const noexcept {
    if (!scheduler_.empty() || !operations_without_room_.empty() ||
        !receivers_without_room_.empty() || !multishots_without_room_.empty() || !closing_.empty())
        return {.limit_ns = 0};
    Wait wait;
    // Sends whose tasks need not go on at once complete while they are submitted: the loop waits
    // for something more, but not for long: one may have failed, which its task is to know. A
    // receiver without a buffer may be waiting for just their bytes.
    if (prompt_ > 0 && receivers_without_buffer_.empty()) {
        wait.completions = prompt_ + 1;
        wait.limit_ns = std::chrono::nanoseconds{limits::send_answer_ms}.count();
    }
    if (const auto due = scheduler_.timers().next()) {
        const auto left =
            std::chrono::duration_cast<std::chrono::nanoseconds>(*due - scheduler_.clock()).count();
        const std::int64_t bounded = std::max<std::int64_t>(left, 0);
        wait.limit_ns = std::min(wait.limit_ns.value_or(bounded), bounded);
    }
    return wait;
}

void Loop::submit(Operation& operation) noexcept {
    if (driver_.submit(operation.request_, tag_of(operation))) [[likely]] {
        operation.state_ = Operation::State::in_flight;
        ++in_flight_;
        if (operation.prompt()) ++prompt_;
    } else {
        operation.state_ = Operation::State::waiting;
        operations_without_room_.push_back(operation);
    }
}

void Loop::submit(Receiver& receiver) noexcept {
    if (driver_.submit_receive(receiver.socket_, tag_of(receiver), BufferPool::group)) [[likely]] {
        receiver.state_ = Receiver::State::armed;
        ++receiving_;
    } else {
        receiver.state_ = Receiver::State::without_room;
        receivers_without_room_.push_back(receiver);
    }
}

void Loop::cancel(Operation& operation) noexcept {
    if (driver_.cancel(tag_of(operation))) return;
    // It stays in flight; the list only remembers that it is to be asked again.
    operations_without_room_.push_back(operation);
}

void Loop::cancel(Receiver& receiver) noexcept {
    if (driver_.cancel(tag_of(receiver))) return;
    receivers_without_room_.push_back(receiver);
}

void Loop::close(Fd fd) noexcept {
    if (!running_) {
        driver_.forget(fd.get());
        fd.close();
        let_go();
    } else if (driver_.close(fd.get())) {
        (void)fd.release();
    } else {
        closing_.push_back(std::move(fd));
    }
}

void Loop::retry_waiting() noexcept {
    coro::List<Operation> operations;
    while (Operation* operation = operations_without_room_.pop_front())
        operations.push_back(*operation);
    while (Operation* operation = operations.pop_front()) {
        if (operation->state_ == Operation::State::in_flight)
            cancel(*operation);
        else
            submit(*operation);
    }
    coro::List<Receiver> receivers;
    while (Receiver* receiver = receivers_without_room_.pop_front()) receivers.push_back(*receiver);
    while (Receiver* receiver = receivers.pop_front()) {
        if (receiver->state_ == Receiver::State::stopping)
            cancel(*receiver);
        else
            submit(*receiver);
    }
    retry_multishots();
    if (!closing_.empty()) [[unlikely]]
        for (Fd& fd : std::exchange(closing_, {})) close(std::move(fd));
}

void Loop::starved(Receiver& receiver) noexcept {
    ++statistics_.starved;
    if (buffers_.replenish()) {
        if (!trim_timer_.armed())
            scheduler_.timers().arm(trim_timer_, now() + limits::buffer_trim_ms);
        return submit(receiver);
    }
    receiver.state_ = Receiver::State::without_buffer;
    receivers_without_buffer_.push_back(receiver);
    buffers_.wanted_ = true;
}

void Loop::buffer_available(const BufferPool& pool) noexcept {
    if (&pool != &buffers_) return arm_starved();
    // All of them: the first may have nothing to receive, and would leave the buffer where it is.
    coro::List<Receiver> receivers;
    while (Receiver* receiver = receivers_without_buffer_.pop_front())
        receivers.push_back(*receiver);
    while (Receiver* receiver = receivers.pop_front()) submit(*receiver);
}

void Loop::trim_buffers() noexcept {
    const bool streams = buffers_.trim();
    if (message_buffers_.trim() || streams)
        scheduler_.timers().arm(trim_timer_, scheduler_.time() + limits::buffer_trim_ms);
}

FdOperation Loop::accept(RawFd listener, std::optional<Milliseconds> limit) noexcept {
    return {*this, {.opcode = Opcode::accept, .fd = listener, .flags = SOCK_CLOEXEC}, limit};
}

FdOperation Loop::accept_waiting(RawFd listener) noexcept {
    return {*this, {.opcode = Opcode::accept_waiting, .fd = listener, .flags = SOCK_CLOEXEC}, {}};
}

VoidOperation Loop::connect(RawFd socket, const Address& address,
                            std::optional<Milliseconds> limit) noexcept {
    return {*this,
            {.opcode = Opcode::connect,
             .fd = socket,
             .address = address.data(),
             .length = address.size()},
            limit};
}

SendOperation Loop::send_all(RawFd socket, std::span<const std::byte> bytes,
                             std::optional<Milliseconds> limit) noexcept {
    return {*this,
            {.opcode = Opcode::send,
             .fd = socket,
             .address = bytes.data(),
             .length = bytes.size(),
             .flags = MSG_NOSIGNAL | MSG_WAITALL},
            limit};
}

NumberOperation Loop::send(RawFd socket, std::span<const std::byte> bytes, GoOn when) noexcept {
    const std::uint32_t lazy = when == GoOn::with_next_event ? MSG_DONTWAIT : 0;
    return {*this,
            {.opcode = Opcode::send_some,
             .fd = socket,
             .address = bytes.data(),
             .length = bytes.size(),
             .flags = MSG_NOSIGNAL | lazy},
            {}};
}

NumberOperation Loop::poll(RawFd fd, std::uint32_t events,
                           std::optional<Milliseconds> limit) noexcept {
    return {*this, {.opcode = Opcode::poll, .fd = fd, .flags = events}, limit};
}

NumberOperation Loop::read(RawFd fd, std::span<std::byte> bytes,
                           std::optional<Milliseconds> limit) noexcept {
    return {*this,
            {.opcode = Opcode::read, .fd = fd, .address = bytes.data(), .length = bytes.size()},
            limit};
}

}  // namespace ringfort::uring
