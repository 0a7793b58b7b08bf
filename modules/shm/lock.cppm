export module ringfort.shm:lock;

import ringfort.base;
import ringfort.std;
import :owners;
import :word;

export namespace ringfort::shm {

/// A lock as it lies in a zone; zeros are a free one. Aligned to lines of its own by whoever places
/// it.
struct LockCell {
    std::uint32_t word;  ///< waiters (bit 31) | impatient (bit 30) | epoch (19 bits) | row + 1
    std::uint32_t reserved;
    Word waits;       ///< how often it was not to be had at once
    Word recoveries;  ///< how often it was taken from a dead owner
};

#ifdef RINGFORT_SHM_STEPS
/// For tests alone: what decides, instead of the kernel, which of several owners in one process
/// goes on. See `wait`, `wake` and `now` in the layer.
struct Scheduler {
    bool (*wait)(std::uint32_t* word, std::uint32_t expected);
    long (*wake)(std::uint32_t* word, int processes);
    Instant (*now)();
};
/// Sets it, or unsets it with null.
void set_scheduler(const Scheduler* scheduler) noexcept;
#endif

class Lock;

/// Holds a lock, and lets go of it at its end. Moves, never copies. The Lock outlives it.
class Guard {
public:
    inline Guard(Guard&& other) noexcept
        : lock_{std::exchange(other.lock_, nullptr)}, recovered_{other.recovered_} {}
    Guard& operator=(Guard&&) = delete;
    inline ~Guard() { unlock(); }

    /// Reports whether the lock was taken from an owner that died holding it: what it protects may
    /// be half written, and is put right before it is used.
    [[nodiscard]] inline bool recovered() const noexcept { return recovered_; }
    /// Lets go now; a second call does nothing.
    inline void unlock() noexcept;

private:
    friend class Lock;
    friend class LockWaiter;
    inline Guard(const Lock* lock, bool recovered) noexcept : lock_{lock}, recovered_{recovered} {}

    const Lock* lock_;
    bool recovered_;
};

/// Mutual exclusion of processes, for short sections: an owner that dies is recovered from, by the
/// master or by whoever waits. Not recursive. Fair in so far as nobody waits for much longer than
/// `limits::lock_patience_us` and the sections of those who wait already: see `LockWaiter`.
/// A view of a cell, with the identity of the process that looks: valid as long as the zone lives.
class Lock {
public:
    /// Looks at `cell` as `self`, whom `owners` has admitted.
    inline Lock(LockCell& cell, Owners owners, Owner self) noexcept : Lock{cell, owners, self, 1} {}

    /// Takes the lock; blocks for up to `limits::lock_wait_ms`. Errors: those of `lock_for`.
    [[nodiscard]] inline Result<Guard> lock() const { return lock_for(limits::lock_wait_ms); }

    /// Takes the lock; blocks for up to `wait`. Errors: ETIMEDOUT, for instance because its owner
    /// is stopped; EDEADLK if the caller holds it already; EOWNERDEAD if the caller has been buried
    /// and somebody has the lock; EBADMSG for a word that no owner wrote.
    [[nodiscard]] inline Result<Guard> lock_for(Milliseconds wait) const {
        if (take_free()) [[likely]]
            return Guard{this, false};
        return lock_slowly(wait);
    }

    /// Takes the lock if it is free and nobody waits for it; never blocks, and recovers nothing.
    [[nodiscard]] inline std::optional<Guard> try_lock() const noexcept {
        if (!take_free()) return std::nullopt;
        return Guard{this, false};
    }

    /// Takes the lock if the owner of `row`, dead, holds it. For the master, at the burial.
    [[nodiscard]] std::optional<Guard> take_from_dead(std::uint32_t row) const noexcept;

    /// Reports whether a guard holds this lock, as the owner that looks.
    [[nodiscard]] inline bool holds(const Guard& guard) const noexcept {
        return guard.lock_ != nullptr && guard.lock_->cell_ == cell_ && guard.lock_->id_ == id_;
    }
    /// Reports whether an owner can have written what is in the word.
    [[nodiscard]] bool sound() const noexcept;
    /// Returns the row of whoever holds the lock now, if anybody does; for people.
    [[nodiscard]] std::optional<std::uint32_t> holder_row() const noexcept;
    /// Returns the word that is waited on, for the futex.
    [[nodiscard]] std::uint32_t* word() const noexcept { return &cell_->word; }
    /// Return the counts in the cell.
    [[nodiscard]] Word waits() const noexcept { return get(cell_->waits); }
    [[nodiscard]] Word recoveries() const noexcept { return get(cell_->recoveries); }

private:
    friend class Guard;
    friend class LockWaiter;
    friend class Pool;
    friend class ReadWaiter;
    friend class SharedLock;
    using Ref = std::atomic_ref<std::uint32_t>;

    static constexpr std::uint32_t row_bits = 11;
    static constexpr std::uint32_t waiters = 1U << 31;    // somebody sleeps: wake one at the end
    static constexpr std::uint32_t impatient = 1U << 30;  // newcomers stand back
    static constexpr std::uint32_t holder = impatient - 1;
    static_assert(Owners::max_rows + 1 < 1U << row_bits);

    inline Lock(LockCell& cell, Owners owners, Owner self, int woken) noexcept
        : cell_{&cell}, owners_{owners}, id_{id_of(self)}, woken_{woken} {}

    static constexpr std::uint32_t id_of(Owner owner) noexcept {
        return (owner.row + 1) | (owner.epoch << row_bits & holder);
    }
    // Acquire, against the release of `unlock`: what was done under the lock before is to be seen.
    // Those who set or clear flags in between do so by exchanges, which hand the release on.
    [[nodiscard]] inline bool take_free() const noexcept {
        step();
        std::uint32_t expected = 0;
        return Ref{cell_->word}.compare_exchange_strong(expected, id_, std::memory_order_acquire,
                                                        std::memory_order_relaxed);
    }
    // Release: what was done under the lock is in memory before it is free.
    inline void unlock() const noexcept {
        step();
        std::uint32_t expected = id_;
        if (!Ref{cell_->word}.compare_exchange_strong(expected, 0, std::memory_order_release,
                                                      std::memory_order_relaxed)) [[unlikely]]
            unlock_slowly();
    }
    void unlock_slowly() const noexcept;
    void take_down_bar() const noexcept;
    // Frees a lock whose word no owner wrote.
    void repair() const noexcept;
    [[nodiscard]] Result<Guard> lock_slowly(Milliseconds wait) const;
    [[nodiscard]] bool dead(std::uint32_t word) const noexcept;
    [[nodiscard]] bool possible(std::uint32_t word) const noexcept;

    LockCell* cell_;
    Owners owners_;
    std::uint32_t id_;
    int woken_;  // how many of those who sleep are woken at the end
};

/// Waits for a lock without deciding how: `Lock::lock_for` sleeps in futex(2), a loop awaits its
/// ring.
///
///     LockWaiter waiter{lock};
///     for (;;) {
///         RF_TRY(waiter.attempt());                  // EDEADLK, EBADMSG
///         if (auto guard = waiter.taken()) return std::move(*guard);
///         // wait until *lock.word() is woken, unless it is waiter.expected() no more, for at most
///         // LockWaiter::bound; then, unless the word was another already:
///         waiter.woken();
///     }
///
/// Who ends without the lock calls nothing. A wake-up that it has swallowed costs the next waiter
/// the rest of its `bound`. The Lock outlives the waiter.
class LockWaiter {
public:
    /// The longest single wait: after it, the owner may have died.
    static constexpr Milliseconds bound = limits::lock_check_ms;

    inline explicit LockWaiter(const Lock& lock) noexcept : lock_{lock} {}
    LockWaiter(const LockWaiter&) = delete;
    LockWaiter& operator=(const LockWaiter&) = delete;
    /// Lets go of a lock that was taken and not asked for, and does not keep newcomers out any
    /// more.
    ~LockWaiter();

    /// Takes the lock if it is free or its owner dead; otherwise notes in the word that somebody
    /// waits. Errors: as for `Lock::lock_for`, but ETIMEDOUT.
    [[nodiscard]] Result<void> attempt();
    /// Returns the guard once, after an attempt that took the lock.
    std::optional<Guard> taken() noexcept;
    /// Returns what the word was after an attempt that did not: as long as it is that, wait.
    [[nodiscard]] std::uint32_t expected() const noexcept { return expected_; }
    /// Notes that the wait ended by a wake-up or by its bound, and not because the word was
    /// another.
    void woken() noexcept { entitled_ = true; }

private:
    enum class State : std::uint8_t { waiting, taken, recovered };

    [[nodiscard]] bool exchange(std::uint32_t word, std::uint32_t desired) const noexcept;
    [[nodiscard]] std::uint32_t taken_word(std::uint32_t word) const noexcept;

    const Lock& lock_;
    Instant begin_{};
    std::uint32_t expected_ = 0;
    State state_ = State::waiting;
    bool waited_ = false;
    bool entitled_ = false;   // was woken, so may take it before newcomers
    bool impatient_ = false;  // has set the bit
};

}  // namespace ringfort::shm

namespace ringfort::shm {

inline void Guard::unlock() noexcept {
    if (lock_ != nullptr) std::exchange(lock_, nullptr)->unlock();
}

// Wakes up to so many of those who wait for a word; returns how many there were.
long wake(std::uint32_t* word, int processes) noexcept;
// Waits until a word is woken, unless it is not `expected`; returns whether the wait ended by a
// wake-up or by its time, not because the word was another.
bool wait(std::uint32_t* word, std::uint32_t expected, Instant::duration limit) noexcept;
// The time that waits are measured with.
Instant wait_clock() noexcept;

}  // namespace ringfort::shm
