module;
#include <liburing.h>
#include <poll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring_engine;

// A turn: what was submitted is carried out, then what has become possible.
namespace ringfort::uring::soft {

namespace {

constexpr std::uint32_t always_reported = POLLERR | POLLHUP;

std::chrono::nanoseconds length(const __kernel_timespec& limit) noexcept {
    return std::chrono::seconds{std::min<std::int64_t>(limit.tv_sec, 1'000'000'000)} +
           std::chrono::nanoseconds{limit.tv_nsec};
}

}  // namespace

int Engine::enter(unsigned wait_for, const __kernel_timespec* limit) {
    ++readiness.statistics.enters;
    queues.flush_backlog();
    for (io_uring_sqe sqe; queues.take(sqe);) submit(sqe);
    queues.taken();

    wait_for = std::min(wait_for, queues.capacity());
    const bool patient = limit == nullptr || limit->tv_sec != 0 || limit->tv_nsec != 0;
    std::optional<Instant> deadline;
    while (true) {
        if (!futexes_.empty()) check_futexes();
        if (readiness.has_troubled()) retry_troubled();
        if (readiness.has_trusted())
            for (const RawFd fd : readiness.check_trusted(now()))
                (void)try_waiters(fd, POLLERR, false);

        const bool block = patient && queues.ready() < wait_for;
        if (block && limit != nullptr && !deadline) deadline = now() + length(*limit);
        if (block || readiness.watching()) {
            const auto longest = longest_wait(block, deadline);
            const int found = readiness.poll(longest ? &*longest : nullptr);
            if (found == -EINTR && queues.ready() < wait_for) return -EINTR;
            if (found < 0 && found != -EINTR) return found;
            dispatch();
            readiness.sweep();
        }
        if (queues.ready() >= wait_for) return 0;
        if (!patient || (deadline && now() >= *deadline)) return -ETIME;
    }
}

std::optional<timespec> Engine::longest_wait(bool block, const std::optional<Instant>& deadline) {
    using std::chrono::nanoseconds;
    if (!block) return timespec{};
    std::optional<nanoseconds> longest;
    const auto at_most = [&](nanoseconds bound) {
        longest = longest ? std::min(*longest, bound) : bound;
    };
    if (deadline) at_most(*deadline - now());
    if (!futexes_.empty() || readiness.has_troubled()) at_most(limits::soft_ring_nap_ms);
    if (readiness.has_trusted()) at_most(limits::soft_ring_trust_ms);
    if (!longest) return {};
    const auto count = std::max<std::int64_t>(longest->count(), 0);
    return timespec{.tv_sec = count / 1'000'000'000, .tv_nsec = count % 1'000'000'000};
}

void Engine::submit(const io_uring_sqe& sqe) {
    Request& request = requests_.make(sqe);
    int failed = check(sqe);
    if (failed == 0) failed = prepare(request);
    if (failed != 0) {
        fail(request, failed);
        return requests_.release(request);
    }
    begin(request);
}

void Engine::begin(Request& request) {
    const Outcome outcome = attempt(request);
    if (outcome == Outcome::ended) return requests_.release(request);
    begin_waiting(request, outcome);
}

void Engine::begin_waiting(Request& request, Outcome outcome) {
    requests_.enter(request);
    if (request.sqe.opcode == IORING_OP_FUTEX_WAIT) {
        request.place = Place::futex;
        return futexes_.push_back(request);
    }
    request.place = Place::watched;
    const int failed = readiness.wait(request);
    if (failed == 0) {
        if (outcome == Outcome::retry) readiness.trouble(request.sqe.fd);
        return;
    }
    requests_.leave(request);
    request.place = Place::running;
    if (failed == -EPERM) {
        // A file that epoll does not take is ready at any time.
        request.woken = true;
        request.ready = request.events;
        if (attempt(request) != Outcome::ended) fail(request, -EAGAIN);
    } else {
        fail(request, failed);
    }
    requests_.release(request);
}

void Engine::dispatch() {
    for (const Event& event : readiness.events()) {
        // What a level-triggered instance announced it will announce again; an edge it will not.
        if (!event.edge && !queues.room()) continue;
        ready(event);
    }
}

void Engine::ready(const Event& event) {
    const Tried tried = try_waiters(event.fd, event.bits, event.edge);
    if (event.edge) return;
    Watch& watch = *readiness.find(event.fd);
    if (tried.taken && !tried.fruitful) {
        if (++watch.fruitless >= limits::soft_ring_fruitless) return readiness.trouble(event.fd);
    } else {
        watch.fruitless = 0;
    }
    readiness.settle(event.fd, event.bits, tried.taken);
}

Engine::Tried Engine::try_waiters(RawFd fd, std::uint32_t bits, bool edge) {
    Tried tried;
    std::uint32_t exhausted = 0;  // the bits somebody has looked for already, in vain
    Watch* watch = readiness.find(fd);
    if (watch == nullptr) return tried;
    for (Request *waiter = watch->waiters.front(), *next = nullptr; waiter != nullptr;
         waiter = next) {
        next = waiter->next;
        const bool polls = waiter->sqe.opcode == IORING_OP_POLL_ADD;
        if (waiter->on_edges() != edge) continue;
        if ((bits & (waiter->events | always_reported)) == 0) continue;
        tried.taken = true;
        if (!polls && (waiter->events & exhausted) != 0) continue;
        waiter->woken = true;
        waiter->ready = bits;
        progress_ = false;
        if (attempt(*waiter) == Outcome::ended) {
            tried.fruitful = true;
            discard(*waiter);
        } else {
            // That somebody else took the connection first is no trouble with the listener.
            tried.fruitful |= progress_ || waiter->sqe.opcode == IORING_OP_ACCEPT;
            if (!polls) exhausted |= waiter->events;
        }
    }
    return tried;
}

void Engine::retry_troubled() {
    for (const RawFd fd : readiness.take_troubled()) {
        if (!readiness.find(fd)->edge.present) (void)try_waiters(fd, ~0U, true);
        const Tried tried = try_waiters(fd, ~0U, false);
        const Watch& watch = *readiness.find(fd);
        if (watch.waiters.empty()) continue;
        if (tried.fruitful || !tried.taken)  // or it was another instance that lacked room
            readiness.recover(fd);
        else
            readiness.trouble(fd);
    }
}

void Engine::discard(Request& request) {
    requests_.leave(request);
    if (request.place == Place::futex)
        futexes_.remove(request);
    else
        readiness.leave(request);
    requests_.release(request);
}

}  // namespace ringfort::uring::soft
