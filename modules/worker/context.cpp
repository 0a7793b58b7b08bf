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

namespace {

/// Sleeps on a word of shared memory as long as it is `expected`, until `due` but no longer than
/// `bound`. Yields whether it has slept: false says that the word was another. Error: `late` at
/// `due`.
coro::Task<Result<bool>> sleep_on(uring::Loop& loop, std::uint32_t& word, std::uint32_t expected,
                                  std::optional<Instant> due, Milliseconds bound, Error late) {
    Milliseconds limit = bound;
    if (due) limit = std::min(limit, std::chrono::ceil<Milliseconds>(*due - now()));
    if (limit <= Milliseconds{0}) co_return late;
    const auto waited = co_await uring::futex_wait(loop, word, expected, limit);
    if (!waited && !waited.error().is(std::errc::timed_out)) co_return waited.error();
    co_return !waited || *waited;
}

/// Has `attempt` try, each time in a transaction, until it has done something, and sleeps in
/// between on what it says.
template <class Attempt>
coro::Task<Result<void>> try_until(Context& context, uring::Loop& loop, const shm::Queue& queue,
                                   std::optional<Milliseconds> wait, Error late,
                                   const Attempt& attempt) {
    const auto due = wait ? std::optional{loop.scheduler().after(*wait)} : std::nullopt;
    for (;;) {
        std::optional<shm::QueueWait> next;
        {
            RF_CO_LET(shm::Transaction transaction, co_await context.begin(queue.pool()));
            RF_CO_LET(next, attempt(transaction));
            RF_CO_TRY(transaction.commit());
        }
        if (!next) co_return {};
        RF_CO_TRY(
            co_await sleep_on(loop, *next->word, next->expected, due, shm::Queue::bound, late));
    }
}

}  // namespace

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

coro::Task<Result<std::vector<std::byte>>> Context::pop(const shm::Queue& queue,
                                                        std::optional<Milliseconds> wait) {
    std::optional<std::vector<std::byte>> message;
    const auto attempt =
        [&](shm::Transaction& transaction) -> Result<std::optional<shm::QueueWait>> {
        message = queue.pop(transaction);
        if (message) return std::optional<shm::QueueWait>{};
        return std::optional{queue.wait_for_message(transaction)};
    };
    RF_CO_TRY(co_await try_until(*this, loop_, queue, wait,
                                 Error{"take from a queue", std::errc::timed_out}, attempt));
    co_return *std::move(message);
}

coro::Task<Result<void>> Context::push(const shm::Queue& queue, shm::ByteView message,
                                       std::optional<Milliseconds> wait) {
    const auto attempt =
        [&](shm::Transaction& transaction) -> Result<std::optional<shm::QueueWait>> {
        const Result<void> put = queue.push(transaction, message);
        if (put) return std::optional<shm::QueueWait>{};
        if (!put.error().is(std::errc::no_buffer_space)) return put.error();
        return std::optional{queue.wait_for_room(transaction)};
    };
    co_return co_await try_until(*this, loop_, queue, wait,
                                 Error{"put into a queue", std::errc::timed_out}, attempt);
}

coro::Task<Result<shm::Guard>> take(uring::Loop& loop, const shm::Lock& lock, Milliseconds wait) {
    shm::LockWaiter waiter{lock};
    const Error late{"take a lock", std::errc::timed_out};
    const Instant due = loop.scheduler().after(wait);
    for (;;) {
        RF_CO_TRY(waiter.attempt());
        if (auto guard = waiter.taken()) co_return *std::move(guard);
        RF_CO_LET(const bool slept, co_await sleep_on(loop, *lock.word(), waiter.expected(), due,
                                                      shm::LockWaiter::bound, late));
        if (slept) waiter.woken();
    }
}

}  // namespace ringfort::worker
