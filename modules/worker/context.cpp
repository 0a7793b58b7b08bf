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
