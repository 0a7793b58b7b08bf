module;
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <compare>
#include <cstdint>
#include <ctime>
#include <optional>
#include <system_error>
#include <utility>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

#ifdef RINGFORT_SHM_STEPS
namespace {
const Scheduler* current_scheduler = nullptr;
}

void set_scheduler(const Scheduler* scheduler) noexcept {
    current_scheduler = scheduler;
}
#endif

Instant wait_clock() noexcept {
#ifdef RINGFORT_SHM_STEPS
    if (current_scheduler != nullptr) return current_scheduler->now();
#endif
    return now();
}

// Not FUTEX_PRIVATE_FLAG: the word is waited on from several processes, and by rings.
long wake(std::uint32_t* word, int processes) noexcept {
#ifdef RINGFORT_SHM_STEPS
    if (current_scheduler != nullptr) return current_scheduler->wake(word, processes);
#endif
    return ::syscall(SYS_futex, word, FUTEX_WAKE, processes, nullptr, nullptr, 0);
}

bool wait(std::uint32_t* word, std::uint32_t expected, Instant::duration limit) noexcept {
#ifdef RINGFORT_SHM_STEPS
    if (current_scheduler != nullptr) return current_scheduler->wait(word, expected);
#endif
    const auto left = std::chrono::nanoseconds{limit}.count();
    const timespec time{left / 1'000'000'000, left % 1'000'000'000};
    return ::syscall(SYS_futex, word, FUTEX_WAIT, expected, &time, nullptr, 0) == 0 ||
           errno == ETIMEDOUT;
}

// All looks at the word are relaxed: what is done about it is done by an exchange, which fails if
// it is another by then, and orders what it has to.
bool Lock::possible(std::uint32_t word) const noexcept {
    const std::uint32_t row = word & ((1U << row_bits) - 1);
    return row <= owners_.rows() && (row != 0 || (word & holder) == 0);
}

bool Lock::sound() const noexcept {
    return possible(Ref{cell_->word}.load(std::memory_order_relaxed));
}

std::optional<std::uint32_t> Lock::holder_row() const noexcept {
    const std::uint32_t row =
        Ref{cell_->word}.load(std::memory_order_relaxed) & ((1U << row_bits) - 1);
    return row == 0 || row > owners_.rows() ? std::nullopt : std::optional{row - 1};
}

bool Lock::dead(std::uint32_t word) const noexcept {
    const std::uint32_t row = (word & ((1U << row_bits) - 1)) - 1;
    const std::optional<Owner> living = owners_.living(row);
    return !living || id_of(*living) != (word & holder);
}

void Lock::unlock_slowly() const noexcept {
    // Others only add flags meanwhile, unless the word was corrupted, in which case it is not ours
    // to free.
    std::uint32_t word = Ref{cell_->word}.load(std::memory_order_relaxed);
    do {
        if ((word & holder) != id_) return;
        step();
    } while (!Ref{cell_->word}.compare_exchange_weak(
        word, (word & waiters) != 0 ? word & impatient : 0, std::memory_order_release,
        std::memory_order_relaxed));
    if ((word & waiters) == 0) return;
    // With nobody asleep, who put up the bar has gone or died; one that is just coming back looks
    // at the word anew.
    if (wake(&cell_->word, woken_) == 0 && (word & impatient) != 0) take_down_bar();
}

// Relaxed: flags say nothing of what the lock protects. Sleepers and those who wake them look at
// one and the same word, whose changes have one order for all. Somebody may have gone to sleep
// before the bar since it was looked whether anybody sleeps: nobody would wake it.
void Lock::take_down_bar() const noexcept {
    step();
    const std::uint32_t word = Ref{cell_->word}.fetch_and(~impatient, std::memory_order_relaxed);
    if ((word & waiters) != 0 && (word & holder) == 0) wake(&cell_->word, woken_);
}

// Relaxed: what was done under it is not to be believed, and is emptied by who repairs it.
void Lock::repair() const noexcept {
    std::uint32_t word = Ref{cell_->word}.load(std::memory_order_relaxed);
    while (!possible(word)) {
        step();
        if (!Ref{cell_->word}.compare_exchange_weak(word, 0, std::memory_order_relaxed)) continue;
        wake(&cell_->word, INT_MAX);
        return;
    }
}

Result<Guard> Lock::lock_slowly(Milliseconds limit) const {
    LockWaiter waiter{*this};
    for (std::uint32_t spin = 0; spin < limits::lock_spins; ++spin) {
        pause();
        if (Ref{cell_->word}.load(std::memory_order_relaxed) != 0 || !take_free()) continue;
        count_up(cell_->waits);
        return Guard{this, false};
    }
    const Instant end = wait_clock() + limit;
    for (;;) {
        RF_TRY(waiter.attempt());
        if (std::optional<Guard> guard = waiter.taken()) return std::move(*guard);
        const auto left = end - wait_clock();
        if (left <= Instant::duration::zero()) {
            // It has waited for as long as it was to, and may take a lock that is free before those
            // who come after it: they may have died who barred it.
            waiter.woken();
            RF_TRY(waiter.attempt());
            if (std::optional<Guard> guard = waiter.taken()) return std::move(*guard);
            return Error{"wait for a lock", std::errc::timed_out};
        }
        if (wait(&cell_->word, waiter.expected(), std::min<Instant::duration>(left, waiter.bound)))
            waiter.woken();
    }
}

// Taken from a dead owner, who released nothing, what is to be seen of its doings is so by its
// burial: `dead` acquires what that released, after the kernel had told of the end.
std::optional<Guard> Lock::take_from_dead(std::uint32_t row) const noexcept {
    std::uint32_t word = Ref{cell_->word}.load(std::memory_order_relaxed);
    // Whoever put up a bar and was to have the lock next may be the dead one: nobody would take it
    // down, or even try the lock, until somebody waits for it. A living one puts it up again.
    if ((word & holder) == 0 && (word & impatient) != 0) take_down_bar();
    while ((word & ((1U << row_bits) - 1)) == row + 1 && dead(word)) {
        step();
        if (Ref{cell_->word}.compare_exchange_weak(word, id_ | (word & ~holder),
                                                   std::memory_order_acquire,
                                                   std::memory_order_relaxed)) {
            count_up(cell_->recoveries);
            return Guard{this, true};
        }
    }
    return std::nullopt;
}

bool LockWaiter::exchange(std::uint32_t word, std::uint32_t desired) const noexcept {
    step();
    return Lock::Ref{lock_.cell_->word}.compare_exchange_strong(
        word, desired, std::memory_order_acquire, std::memory_order_relaxed);
}

// Who has slept does not know whether others still do, and wakes one at its end in any case. The
// bar against newcomers falls with the turn of the one who put it up.
std::uint32_t LockWaiter::taken_word(std::uint32_t word) const noexcept {
    std::uint32_t flags = word & ~Lock::holder;
    if (waited_) flags |= Lock::waiters;
    if (impatient_) flags &= ~Lock::impatient;
    return lock_.id_ | flags;
}

Result<void> LockWaiter::attempt() {
    for (;;) {
        const std::uint32_t word = Lock::Ref{lock_.cell_->word}.load(std::memory_order_relaxed);
        const std::uint32_t id = word & Lock::holder;
        if (!lock_.possible(word)) return Error{"take a lock: its word", std::errc::bad_message};
        if (id == lock_.id_) return Error{"take a lock", std::errc::resource_deadlock_would_occur};
        if (lock_.dead(lock_.id_)) return Error{"take a lock: its owner", std::errc::owner_dead};
        const bool may_take = id == 0 && ((word & Lock::impatient) == 0 || entitled_);
        if (may_take || (id != 0 && lock_.dead(word))) {
            if (!exchange(word, taken_word(word))) continue;
            impatient_ = false;
            state_ = id == 0 ? State::taken : State::recovered;
            if (id != 0) count_up(lock_.cell_->recoveries);
            count_up(lock_.cell_->waits);
            return {};
        }
        if (!waited_) begin_ = wait_clock();
        const bool impatient = waited_ && wait_clock() - begin_ >= limits::lock_patience_us;
        const std::uint32_t desired = word | Lock::waiters | (impatient ? Lock::impatient : 0);
        if (desired != word && !exchange(word, desired)) continue;
        waited_ = true;
        impatient_ = impatient_ || impatient;
        expected_ = desired;
        entitled_ = false;
        return {};
    }
}

// A bar that is left standing would keep others waiting for nobody.
LockWaiter::~LockWaiter() {
    taken();
    if (impatient_) lock_.take_down_bar();
}

std::optional<Guard> LockWaiter::taken() noexcept {
    if (state_ == State::waiting) return std::nullopt;
    return Guard{&lock_, std::exchange(state_, State::waiting) == State::recovered};
}

}  // namespace ringfort::shm
