module;
#include <liburing.h>
#include <ringfort/try.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {

constexpr std::size_t reap_batch = 256;

}  // namespace

Result<std::unique_ptr<Loop>> Loop::open(const LoopOptions& options) {
    std::unique_ptr<Loop> loop{new Loop};
    RF_TRY(loop->driver_.open(options.submissions, options.completions, options.best_mode));
    RF_TRY(loop->buffers_.open(
        loop->driver_, *loop,
        {.count = options.receive_buffers,
         .max_count = std::max(options.receive_buffers, options.max_receive_buffers),
         .buffer_size = options.receive_buffer_size}));
    return loop;
}

Loop::~Loop() {
    ensure(in_flight_ == 0, "a loop was destroyed with operations in flight");
}

void Loop::turn() {
    ++statistics_.turns;
    const auto entered = driver_.enter(wait_ns());
    ensure(entered.has_value(), entered ? "" : entered.error().text());
    std::array<Completion, reap_batch> batch;
    std::size_t count = 0;
    do {
        count = driver_.reap(batch);
        statistics_.completions += count;
        for (std::size_t i = 0; i < count; ++i) complete(batch[i]);
    } while (count == batch.size());
    scheduler_.begin_turn(now());
    retry_waiting();
    // Last, so that a turn that ends the loop's task does not wait for anything more.
    scheduler_.run();
}

std::optional<std::int64_t> Loop::wait_ns() const noexcept {
    if (!scheduler_.empty() || !room_waiting_.empty()) return 0;
    const auto due = scheduler_.timers().next();
    if (!due) return std::nullopt;
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(*due - now()).count();
    return std::max<std::int64_t>(left, 0);
}

void Loop::submit(Operation& operation) noexcept {
    const auto tag = reinterpret_cast<std::uintptr_t>(&operation);
    if (driver_.submit(operation.request_, tag, BufferPool::group)) {
        operation.state_ = Operation::State::in_flight;
        ++in_flight_;
    } else {
        operation.state_ = Operation::State::waiting;
        room_waiting_.push_back(operation);
    }
}

void Loop::cancel(Operation& operation) noexcept {
    if (driver_.cancel(reinterpret_cast<std::uintptr_t>(&operation))) return;
    // It stays in flight; the list only remembers that it is to be asked again.
    room_waiting_.push_back(operation);
}

void Loop::retry_waiting() noexcept {
    coro::List<Operation> retried;
    while (Operation* operation = room_waiting_.pop_front()) retried.push_back(*operation);
    while (Operation* operation = retried.pop_front()) {
        if (operation->state_ == Operation::State::in_flight)
            cancel(*operation);
        else
            submit(*operation);
    }
}

void Loop::complete(const Completion& completion) noexcept {
    if (completion.tag == 0)
        return;  // the answer to a cancel request: the operation's own one counts
    auto& operation = *reinterpret_cast<Operation*>(static_cast<std::uintptr_t>(completion.tag));
    --in_flight_;
    complete(operation, completion.result, completion.flags);
}

void Loop::complete(Operation& operation, int result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_BUFFER) != 0)
        operation.lease_ = buffers_.take(flags, result > 0 ? static_cast<std::size_t>(result) : 0);
    if (result == -ENOBUFS && operation.request_.opcode == Opcode::receive &&
        !operation.stopping_) {
        ++statistics_.starved;
        if (buffers_.replenish()) return submit(operation);
        operation.state_ = Operation::State::waiting;
        return buffer_waiting_.push_back(operation);
    }
    if (result == -EINTR) {
        if (!operation.stopping_) return submit(operation);
        result = -ECANCELED;  // how a kernel thread that was working on it says the same
    }
    if (operation.request_.opcode == Opcode::send && result > 0) {
        operation.transferred_ += static_cast<std::size_t>(result);
        Request& request = operation.request_;
        request.address = static_cast<const std::byte*>(request.address) + result;
        request.length -= static_cast<std::size_t>(result);
        if (request.length > 0) {
            if (!operation.stopping_) return submit(operation);
            result = -ECANCELED;
        }
    }
    operation.finish(result);
}

void Loop::buffer_available() noexcept {
    // All of them: the first may have nothing to receive, and would leave the buffer where it is.
    coro::List<Operation> retried;
    while (Operation* operation = buffer_waiting_.pop_front()) retried.push_back(*operation);
    while (Operation* operation = retried.pop_front()) submit(*operation);
}

FdOperation Loop::accept(RawFd listener, std::optional<Milliseconds> limit) noexcept {
    return {*this,
            {.opcode = Opcode::accept, .fd = listener, .step = "accept", .flags = SOCK_CLOEXEC},
            limit};
}

FdOperation Loop::accept_waiting(RawFd listener) noexcept {
    return {
        *this,
        {.opcode = Opcode::accept_waiting, .fd = listener, .step = "accept", .flags = SOCK_CLOEXEC},
        {}};
}

VoidOperation Loop::connect(RawFd socket, const Address& address,
                            std::optional<Milliseconds> limit) noexcept {
    return {*this,
            {.opcode = Opcode::connect,
             .fd = socket,
             .step = "connect",
             .address = address.data(),
             .length = address.size()},
            limit};
}

ReceiveOperation Loop::receive(RawFd socket, std::optional<Milliseconds> limit) noexcept {
    return {*this, {.opcode = Opcode::receive, .fd = socket, .step = "receive"}, limit};
}

SendOperation Loop::send_all(RawFd socket, std::span<const std::byte> bytes,
                             std::optional<Milliseconds> limit) noexcept {
    return {*this,
            {.opcode = Opcode::send,
             .fd = socket,
             .step = "send",
             .address = bytes.data(),
             .length = bytes.size()},
            limit};
}

NumberOperation Loop::poll(RawFd fd, std::uint32_t events,
                           std::optional<Milliseconds> limit) noexcept {
    return {*this, {.opcode = Opcode::poll, .fd = fd, .step = "poll", .flags = events}, limit};
}

NumberOperation Loop::read(RawFd fd, std::span<std::byte> bytes,
                           std::optional<Milliseconds> limit) noexcept {
    return {*this,
            {.opcode = Opcode::read,
             .fd = fd,
             .step = "read",
             .address = bytes.data(),
             .length = bytes.size()},
            limit};
}

}  // namespace ringfort::uring
