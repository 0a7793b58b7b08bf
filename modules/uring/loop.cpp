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

/// The tag of an operation's completion. 0 is the answer to a request that nobody waits for; for
/// those up to Driver::alarm, and those of Multishots, see there.
std::uint64_t tag_of(const Operation& operation) noexcept {
    return reinterpret_cast<std::uintptr_t>(&operation);
}

}  // namespace

Loop::CancelTimer::CancelTimer(Loop& owner) noexcept
    : Timer{[](Timer& timer) noexcept { static_cast<CancelTimer&>(timer).loop.cancel_again(); }},
      loop{owner} {}

Result<std::unique_ptr<Loop>> Loop::open(const LoopOptions& options) {
    std::unique_ptr<Loop> loop{new Loop{options.direct_sockets}};
    RF_TRY(loop->driver_.open(options.submissions, options.completions, options.features,
                              options.backend, options.permits));
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
    const bool unsettled = senders_.submitted();  // of the last turn: its answers did not all come
    senders_.submit();
    const auto entered = driver_.enter(unsettled ? Wait{} : wait(), senders_.answers());
    if (!entered) [[unlikely]]
        panic(entered.error().text());
    const bool taken = driver_.taken();  // what is reaped may have more asked for
    const Instant time = now();
    const std::uint32_t completions = reap();
    senders_.settle(taken && driver_.told());
    scheduler_.begin_turn(time);
    retry_waiting();
    // What runs tasks is last, so that a turn that ends the loop's task waits for nothing more.
    scheduler_.run();
    std::uint32_t direct = 0;  // what waiting makes no fewer of
    if (!to_receive_.empty()) [[unlikely]]
        direct = receive_directly();
    crowd_.end_turn();
    batching_.end_turn(completions - std::min(completions, direct));
}

/// Hands a Multishot's answer to whom it is for.
template <class T>
void Loop::answer(T& request, int result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_MORE) == 0) ended(request);
    request.complete(result, flags);
}

void Loop::answer(QuickSend& send, int result, std::uint32_t flags) noexcept {
    if (senders_.take_success(send, result)) [[likely]]
        --receiving_;
    else
        answer(senders_.answered(send), result, flags);
}

/// Hands out what has come; returns how many completions that were, the answers to posts aside.
std::uint32_t Loop::reap() noexcept {
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&driver_.ring(), head, cqe) {
        if (Multishot::prefetch(cqe->user_data) && ++count == limits::fetched_ahead) break;
    }
    count = 0;
    io_uring_for_each_cqe(&driver_.ring(), head, cqe) {
        ++count;
        const std::uint64_t tag = cqe->user_data;
        auto* const request =
            reinterpret_cast<Multishot*>(static_cast<std::uintptr_t>(tag & ~Multishot::takers));
        const auto taker = static_cast<Multishot::Taker>(tag & Multishot::takers);
        if (taker == Multishot::Taker::receiver) [[likely]]
            answer(static_cast<Receiver&>(*request), cqe->res, cqe->flags);
        else if (taker == Multishot::Taker::quick_send)
            answer(*reinterpret_cast<QuickSend*>(request), cqe->res, cqe->flags);
        else if (taker == Multishot::Taker::sender)
            answer(static_cast<Sender&>(*request), cqe->res, cqe->flags);
        else if (taker == Multishot::Taker::answers)
            answer(static_cast<Answers&>(*request), cqe->res, cqe->flags);
        else if (tag > Driver::alarm)
            answer(*reinterpret_cast<Operation*>(static_cast<std::uintptr_t>(tag)), cqe->res,
                   cqe->flags);
        else if (tag == Driver::cancel_failed)
            cancel_failed();
        else if (tag == Driver::alarm)
            driver_.alarm_passed();
    }
    if (count == driver_.ring().cq.ring_entries && ::io_uring_cq_has_overflow(&driver_.ring()))
        [[unlikely]]
        ++statistics_.overflows;
    ::io_uring_cq_advance(&driver_.ring(), count);
    statistics_.completions += count;
    return count - std::min(count, senders_.answers());
}

void Loop::answer(Operation& operation, int result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_MORE) != 0) [[unlikely]] {
        // Of a send without a copy: a notification follows when the kernel has let go of the bytes.
        // There is nothing left to cancel.
        operation.result_ = result;
        operation.coro::ListNode<Operation>::unlink();
        return;
    }
    --in_flight_;
    operation.complete((flags & IORING_CQE_F_NOTIF) != 0 ? operation.result_ : result);
}

Wait Loop::wait() const noexcept {
    if (!scheduler_.empty() || !operations_without_room_.empty() ||
        !multishots_without_room_.empty() || !to_be_fed_.empty() || !closing_.empty() ||
        !to_receive_.empty())
        return {};
    return {.until = scheduler_.timers().next().value_or(Instant::max()),
            .clock = scheduler_.clock(),
            .least = batching_.least()};
}

void Loop::submit(Operation& operation) noexcept {
    if (driver_.submit(operation.request_, tag_of(operation))) [[likely]] {
        operation.state_ = Operation::State::in_flight;
        ++in_flight_;
    } else {
        operation.state_ = Operation::State::waiting;
        operations_without_room_.push_back(operation);
    }
}

void Loop::cancel(Operation& operation) noexcept {
    // It stays in flight; the lists only remember that it may have to be asked again.
    if (driver_.cancel(tag_of(operation)))
        stopping_operations_.push_back(operation);
    else
        operations_without_room_.push_back(operation);
}

/// A request that is between two tries in the kernel is not found there (io_uring/cancel.c), and
/// goes on to wait. Which one it was, or whether it has ended since, is not known: what has ended
/// has left the lists.
void Loop::cancel_failed() noexcept {
    if (!cancel_timer_.armed())
        scheduler_.timers().arm(cancel_timer_, now() + limits::cancel_retry_ms);
}

/// Asks anew for what has not ended, before the tasks of this turn run.
void Loop::cancel_again() noexcept {
    while (Operation* operation = stopping_operations_.pop_front())
        operations_without_room_.push_back(*operation);
    while (Multishot* request = stopping_multishots_.pop_front())
        multishots_without_room_.push_back(*request);
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

/// Asks again for all that wait: what has to wait once more is not asked for again.
template <class T>
void Loop::retry(coro::List<T>& waiting) noexcept {
    if (waiting.empty()) return;
    coro::List<T> requests;
    while (T* request = waiting.pop_front()) requests.push_back(*request);
    while (T* request = requests.pop_front()) {
        if (request->submitted())
            cancel(*request);
        else
            submit(*request);
    }
}

/// Has a receiver that found no buffer ask again in the next turn. What the tasks of this one post
/// has gone by then, so that the buffers just used are used again, and not others beside them.
void Loop::wait_for_buffers(Receiver& receiver) noexcept {
    Multishot& request = receiver;
    request.state_ = Multishot::State::without_buffer;
    ration_.starve();
    starving_.push_back(request);
}

void Loop::watch(Receiver& receiver) noexcept {
    // The soft ring looks at what there is whenever anything may have changed.
    if (driver_.backend() == Backend::io_uring) hangups_.watch(receiver);
}

/// Has a receiver whose socket has something, which a task waits for, receive it later in this
/// turn.
void Loop::receive_later(Receiver& receiver) noexcept {
    Multishot& request = receiver;
    if (!request.coro::ListNode<Multishot>::linked()) to_receive_.push_back(request);
}

/// Receives for those, in rounds, and has each one's task go on before it receives for the next: of
/// one socket no more than `limits::receive_burst`, as of one that the ring receives from. Returns
/// how many calls that took.
std::uint32_t Loop::receive_directly() {
    coro::List<Multishot> left;
    std::size_t rounds =
        std::max<std::size_t>(1, limits::receive_burst.count / buffers_.buffer_size());
    const std::uint64_t before = statistics_.direct;
    senders_.post_directly(true);
    const Instant end = scheduler_.clock() + limits::run_time_per_turn_ms;
    while (scheduler_.clock() < end) {
        if (left.empty() && rounds-- > 0)
            while (Multishot* const told = to_receive_.pop_front()) left.push_back(*told);
        Multishot* const request = left.pop_front();
        if (request == nullptr) break;
        // Tasks that have had all of their turn before have to wait for the next one.
        const bool at_once = scheduler_.empty();
        if (const Multishot* const next = left.front()) (void)Multishot::prefetch(next->tag());
        static_cast<Receiver*>(request)->receive_directly();
        if (at_once && !scheduler_.empty())
            scheduler_.run_on(end, limits::direct_per_reading);
        else
            scheduler_.read_clock();
    }
    scheduler_.measure();
    senders_.post_directly(false);
    // First in the next turn, before those who were told of in this one.
    while (Multishot* const request = to_receive_.pop_front()) left.push_back(*request);
    while (Multishot* const request = left.pop_front()) to_receive_.push_back(*request);
    return static_cast<std::uint32_t>(statistics_.direct - before);
}

/// Has as many of those who found no buffer ask again as there are buffers for, who has waited
/// longest first: more would find none once more, and cost the kernel a look at each. Where the
/// kernel has none and none is parked, all ask: for what the tasks of this turn give back, and what
/// a task waits for beyond that is received into memory of its own.
void Loop::feed_starving() noexcept {
    const bool rationed = !to_be_fed_.empty() && buffers_.replenish();
    std::uint64_t most = UINT64_MAX;
    if (rationed)
        most = ration_.begin_turn(buffers_.available(), buffers_.used());
    else
        ration_ = {};
    for (; most > 0 && !to_be_fed_.empty(); --most) {
        Multishot* const request = to_be_fed_.pop_front();
        request->state_ = Multishot::State::idle;
        static_cast<Receiver*>(request)->rearm();
        if (rationed) ration_.feed();
    }
    while (Multishot* request = starving_.pop_front()) to_be_fed_.push_back(*request);
}

void Loop::retry_waiting() noexcept {
    feed_starving();
    buffers_.begin_turn();
    message_buffers_.begin_turn();
    retry(operations_without_room_);
    retry(multishots_without_room_);
    if (!closing_.empty()) [[unlikely]]
        for (Fd& fd : std::exchange(closing_, {})) close(std::move(fd));
}

void Loop::buffer_available(BufferPool& pool) noexcept {
    // All of them: the first may have nothing to receive, and would leave the buffer where it is.
    retry(pool.waiting_);
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

NumberOperation Loop::send(RawFd socket, std::span<const std::byte> bytes) noexcept {
    return {*this,
            {.opcode = Opcode::send_some,
             .fd = socket,
             .address = bytes.data(),
             .length = bytes.size(),
             .flags = MSG_NOSIGNAL},
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
