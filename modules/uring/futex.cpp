module;
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ringfort/try.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <system_error>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {

std::uint32_t flags_of(FutexSharing sharing) noexcept {
    return sharing == FutexSharing::processes ? FUTEX2_SIZE_U32 : FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;
}

Request request(Opcode opcode, const void* word, std::uint32_t value, FutexSharing sharing) {
    return {
        .opcode = opcode, .fd = -1, .address = word, .offset = value, .flags = flags_of(sharing)};
}

/// Waits by looking at the word, an atomic or a reference to one, from time to time.
template <class Word>
coro::Task<Result<void>> watch(Loop& loop, const Word& word, std::uint32_t expected,
                               std::optional<Milliseconds> limit) {
    coro::Scheduler& scheduler = loop.scheduler();
    const Instant end = scheduler.after(limit.value_or(Milliseconds::max()));
    while (word.load(std::memory_order_acquire) == expected) {
        if (scheduler.time() >= end) co_return Error{"futex_wait", std::errc::timed_out};
        RF_CO_TRY(co_await loop.sleep(limits::futex_recheck_ms));
    }
    co_return {};
}

}  // namespace

coro::Task<Result<void>> futex_wait(Loop& loop, const FutexWord& word, std::uint32_t expected,
                                    FutexSharing sharing, std::optional<Milliseconds> limit) {
    if (!loop.features().futex) co_return co_await watch(loop, word, expected, limit);
    const auto waited =
        co_await VoidOperation{loop, request(Opcode::futex_wait, &word, expected, sharing), limit};
    // The word did not hold what was expected, which is what the caller waits for.
    if (!waited && waited.error().is(std::errc::resource_unavailable_try_again))
        co_return Result<void>{};
    co_return waited;
}

coro::Task<Result<bool>> futex_wait(Loop& loop, std::uint32_t& word, std::uint32_t expected,
                                    std::optional<Milliseconds> limit) {
    if (!loop.features().futex) {
        const std::atomic_ref<std::uint32_t> looked_at{word};
        RF_CO_TRY(co_await watch(loop, looked_at, expected, limit));
        co_return true;
    }
    const auto waited = co_await VoidOperation{
        loop, request(Opcode::futex_wait, &word, expected, FutexSharing::processes), limit};
    if (waited) co_return true;
    if (waited.error().is(std::errc::resource_unavailable_try_again)) co_return false;
    co_return waited.error();
}

coro::Task<Result<std::uint32_t>> futex_wake(Loop& loop, const FutexWord& word, std::uint32_t count,
                                             FutexSharing sharing) {
    if (loop.features().futex)
        co_return co_await NumberOperation{
            loop, request(Opcode::futex_wake, &word, count, sharing), {}};
    const int private_flag = sharing == FutexSharing::threads ? FUTEX_PRIVATE_FLAG : 0;
    const auto most = static_cast<int>(std::min(count, 0x7fff'ffffU));
    const auto woken =
        ::syscall(SYS_futex, &word, FUTEX_WAKE | private_flag, most, nullptr, nullptr, 0);
    if (woken < 0) co_return Error::last("futex_wake");
    co_return static_cast<std::uint32_t>(woken);
}

}  // namespace ringfort::uring
