module;
#include <ringfort/try.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
module ringfort.worker;

import ringfort.base;
import ringfort.coro;
import ringfort.shm;
import ringfort.uring;

namespace ringfort::worker {

Result<shm::Pool> Context::pool(std::string_view name) const {
    const auto found = pools_.find(name);
    if (found == pools_.end()) return Error{"find a pool", std::errc::no_such_file_or_directory};
    return found->second;
}

coro::Task<Result<shm::Transaction>> Context::begin(const shm::Pool& pool, Milliseconds wait) {
    RF_CO_LET(std::optional<shm::Transaction> begun, pool.try_begin());
    if (begun) co_return *std::move(begun);
    auto guard = co_await take(loop_, pool.lock(), wait);
    if (guard) co_return pool.begin(*std::move(guard));
    if (guard.error().is(std::errc::bad_message)) pool.quarantine();
    co_return guard.error();
}

namespace {

/// Sleeps until something has changed, or `due` is reached, or the longest single wait is over.
coro::Task<Result<void>> sleep_for(uring::Loop& loop, shm::QueueWait wait,
                                   std::optional<Instant> due, Error late) {
    Milliseconds limit = shm::Queue::bound;
    if (due) limit = std::min(limit, std::chrono::ceil<Milliseconds>(*due - now()));
    if (limit <= Milliseconds{0}) co_return late;
    const auto waited = co_await uring::futex_wait(loop, *wait.word, wait.expected, limit);
    if (!waited && !waited.error().is(std::errc::timed_out)) co_return waited.error();
    co_return {};
}

std::optional<Instant> due_at(uring::Loop& loop, std::optional<Milliseconds> wait) {
    return wait ? std::optional{loop.scheduler().after(*wait)} : std::nullopt;
}

}  // namespace

coro::Task<Result<std::vector<std::byte>>> Context::pop(const shm::Queue& queue,
                                                        std::optional<Milliseconds> wait) {
    const auto due = due_at(loop_, wait);
    for (;;) {
        shm::QueueWait next;
        {
            RF_CO_LET(shm::Transaction transaction, co_await begin(queue.pool()));
            auto message = queue.pop(transaction);
            if (!message) next = queue.wait_for_message(transaction);
            RF_CO_TRY(transaction.commit());
            if (message) co_return *std::move(message);
        }
        RF_CO_TRY(
            co_await sleep_for(loop_, next, due, Error{"take from a queue", std::errc::timed_out}));
    }
}

coro::Task<Result<void>> Context::push(const shm::Queue& queue, shm::ByteView message,
                                       std::optional<Milliseconds> wait) {
    const auto due = due_at(loop_, wait);
    for (;;) {
        shm::QueueWait next;
        {
            RF_CO_LET(shm::Transaction transaction, co_await begin(queue.pool()));
            const Result<void> put = queue.push(transaction, message);
            if (!put && !put.error().is(std::errc::no_buffer_space)) co_return put.error();
            if (!put) next = queue.wait_for_room(transaction);
            RF_CO_TRY(transaction.commit());
            if (put) co_return {};
        }
        RF_CO_TRY(
            co_await sleep_for(loop_, next, due, Error{"put into a queue", std::errc::timed_out}));
    }
}

coro::Task<Result<shm::Guard>> take(uring::Loop& loop, const shm::Lock& lock, Milliseconds wait) {
    shm::LockWaiter waiter{lock};
    const Instant due = loop.scheduler().after(wait);
    for (;;) {
        RF_CO_TRY(waiter.attempt());
        if (auto guard = waiter.taken()) co_return *std::move(guard);
        const auto left = std::chrono::ceil<Milliseconds>(due - now());
        if (left <= Milliseconds{0}) co_return Error{"take a lock", std::errc::timed_out};
        const auto waited = co_await uring::futex_wait(loop, *lock.word(), waiter.expected(),
                                                       std::min(left, shm::LockWaiter::bound));
        if (!waited && !waited.error().is(std::errc::timed_out)) co_return waited.error();
        if (!waited || *waited) waiter.woken();
    }
}

}  // namespace ringfort::worker
