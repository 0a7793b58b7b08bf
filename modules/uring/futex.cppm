export module ringfort.uring:futex;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :loop;
import :operation;
import :request;

export namespace ringfort::uring {

/// A word that tasks, threads and processes wait on. Compatible with futex(2) of others.
using FutexWord = std::atomic<std::uint32_t>;
static_assert(sizeof(FutexWord) == sizeof(std::uint32_t) && FutexWord::is_always_lock_free);

/// Who shares a word: the threads of this process, or every process that has mapped it.
enum class FutexSharing : std::uint8_t { threads, processes };

/// Waits while `word` holds `expected`, until somebody wakes it. May return without reason: look at
/// the word again. `word` must live until completion. Suspends; cancellable. Errors: ECANCELED;
/// ETIMEDOUT after `limit`; EFAULT where no memory is mapped.
///
/// On a kernel before 6.7, which has no IORING_OP_FUTEX_WAIT, the word is looked at again every
/// `limits::futex_recheck_ms`: it must have changed for the waiting to end, and those who count
/// whom they have woken do not count this one. Source: futex(2), io_uring_prep_futex_wait(3).
[[nodiscard]] coro::Task<Result<void>> futex_wait(Loop& loop, const FutexWord& word,
                                                  std::uint32_t expected,
                                                  FutexSharing sharing = FutexSharing::processes,
                                                  std::optional<Milliseconds> limit = {});

/// As above, on a word that is no `std::atomic`, in memory that processes share; it is read
/// atomically. Yields whether somebody woke it, or may have: false says that it did not hold
/// `expected`.
[[nodiscard]] coro::Task<Result<bool>> futex_wait(Loop& loop, std::uint32_t& word,
                                                  std::uint32_t expected,
                                                  std::optional<Milliseconds> limit = {});

/// Wakes at most `count` of those who wait on `word`; yields how many. Suspends until the end of
/// the turn. Errors: EFAULT; ECANCELED.
[[nodiscard]] coro::Task<Result<std::uint32_t>> futex_wake(
    Loop& loop, const FutexWord& word, std::uint32_t count = 1,
    FutexSharing sharing = FutexSharing::processes);

}  // namespace ringfort::uring
