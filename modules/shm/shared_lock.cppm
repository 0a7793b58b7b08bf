export module ringfort.shm:shared_lock;

import ringfort.base;
import ringfort.std;
import :journal;
import :lock;
import :owners;
import :pool;
import :word;

export namespace ringfort::shm {

class SharedLock;
class ReadWaiter;
class WriteWaiter;

/// Holds a shared lock for writing, and lets go of it at its end. Moves, never copies.
class WriteGuard {
public:
    inline WriteGuard(WriteGuard&& other) noexcept
        : guard_{std::move(other.guard_)}, dirty_{std::exchange(other.dirty_, nullptr)} {}
    WriteGuard& operator=(WriteGuard&&) = delete;

    /// Reports whether a writer has died and nobody has said since that what the lock protects is
    /// right: it may be half written.
    [[nodiscard]] bool recovered() const noexcept { return dirty_ != nullptr && get(*dirty_) != 0; }
    /// Says that what the lock protects is right again, so that others may read it. Until somebody
    /// does, every writer is told that it is to recover, and no reader is let in.
    void repaired() noexcept;
    /// Lets go now; a second call does nothing.
    inline void unlock() noexcept {
        dirty_ = nullptr;
        guard_.unlock();
    }

private:
    friend class WriteWaiter;
    inline WriteGuard(Guard guard, Word& dirty) noexcept
        : guard_{std::move(guard)}, dirty_{&dirty} {}

    Guard guard_;
    Word* dirty_;
};

/// Holds a shared lock for reading, and lets go of it at its end. Moves, never copies. The
/// SharedLock outlives it.
class ReadGuard {
public:
    inline ReadGuard(ReadGuard&& other) noexcept : lock_{std::exchange(other.lock_, nullptr)} {}
    ReadGuard& operator=(ReadGuard&&) = delete;
    inline ~ReadGuard() { unlock(); }

    /// Lets go now; a second call does nothing.
    void unlock() noexcept;

private:
    friend class ReadWaiter;
    friend class SharedLock;
    inline explicit ReadGuard(const SharedLock* lock) noexcept : lock_{lock} {}

    const SharedLock* lock_;
};

/// A lock in a pool that many may hold for reading, or one for writing: for what is read in longer
/// sections than those of transactions. Each owner counts its readers in a cell of its own, with
/// its epoch, so that those of a dead one count no more when it is buried. What a dead one held is
/// let go of at its burial (`Healer`), and whoever waits looks every `limits::lock_check_ms`
/// besides. A writer keeps new readers out while it waits for those that are there, and a reader
/// that waits keeps out writers that come after it once it has waited for
/// `limits::lock_patience_us`. What its own words say is checked; it does not ask whether the pool
/// is quarantined.
///
/// A view: valid as long as the pool it was made or opened with. Cheap to copy.
class SharedLock {
public:
    /// Makes a lock as structure `number`, for all owners of the pool. Errors: EEXIST if there is
    /// one already; EINVAL for a number not below `limits::pool_roots`; ENOMEM; those of
    /// `Pool::begin`.
    [[nodiscard]] static Result<SharedLock> create(const Pool& pool, std::uint32_t number);
    /// Opens the lock that is structure `number`. Errors: ENOENT if there is none; EPROTO if it is
    /// something else; EBADMSG if it is corrupted; those of `Pool::begin`.
    [[nodiscard]] static Result<SharedLock> open(const Pool& pool, std::uint32_t number);
    /// Opens the lock that is structure `number`, or makes it if there is none, as
    /// `Map::open_or_create`.
    [[nodiscard]] static Result<SharedLock> open_or_create(const Pool& pool, std::uint32_t number);

    /// Takes the lock for writing; blocks for up to `wait`. A guard that says `recovered` means
    /// that a writer died: what the lock protects is to be put right first, and said to be so
    /// (`WriteGuard::repaired`). Errors: ETIMEDOUT; EDEADLK if the calling owner holds it, for
    /// reading or writing; EOWNERDEAD if the calling owner has been buried; EBADMSG for words that
    /// no owner wrote.
    [[nodiscard]] Result<WriteGuard> lock(Milliseconds wait = limits::lock_wait_ms) const;
    /// Takes the lock for reading, once more if the calling owner does already; blocks for up to
    /// `wait`. Errors: EOWNERDEAD if a writer died, so that somebody has to write-lock and repair
    /// first; those of `lock`.
    [[nodiscard]] Result<ReadGuard> lock_shared(Milliseconds wait = limits::lock_wait_ms) const;

private:
    friend class Healer;
    friend class ReadGuard;
    friend class ReadWaiter;
    friend class WriteWaiter;
    struct Cell;

    SharedLock(const Pool& pool, Offset at) noexcept;

    [[nodiscard]] static Result<SharedLock> obtain(const Pool& pool, std::uint32_t number,
                                                   Obtain how);
    [[nodiscard]] static Result<SharedLock> found(const Pool& pool, Transaction& transaction,
                                                  Offset at) noexcept;
    static void release_dead(const Pool& pool, Transaction& transaction,
                             std::uint32_t number) noexcept;
    [[nodiscard]] static std::uint64_t bytes_for(const Pool& pool) noexcept;
    [[nodiscard]] Cell& cell() const noexcept;
    [[nodiscard]] Word& readers(std::uint32_t row) const noexcept;
    [[nodiscard]] std::uint32_t own_count() const noexcept;
    void set_own_count(std::uint32_t count) const noexcept;
    [[nodiscard]] bool reading(std::uint32_t row) const noexcept;
    void leave() const noexcept;
    void wake_writer() const noexcept;
    [[nodiscard]] bool enter() const noexcept;
    [[nodiscard]] Result<void> admitted() const;
    void let_writers_on() const noexcept;

    Pool pool_;
    Offset at_;
    Lock writer_;
};

/// Waits to write under a `SharedLock`, without deciding how: see `LockWaiter`, which is used in
/// the same way but for the word, which is not always the same one. The SharedLock outlives it.
class WriteWaiter {
public:
    inline explicit WriteWaiter(const SharedLock& lock) noexcept
        : lock_{lock}, waiter_{lock.writer_} {}
    WriteWaiter(const WriteWaiter&) = delete;
    WriteWaiter& operator=(const WriteWaiter&) = delete;

    /// Takes the lock if nobody has it, as far as possible: a writer that waits for readers keeps
    /// new ones out. Errors: those of `SharedLock::lock`, but ETIMEDOUT.
    [[nodiscard]] Result<void> attempt();
    /// Returns the guard once, after an attempt that took the lock.
    [[nodiscard]] std::optional<WriteGuard> taken() noexcept;
    /// Return what is to be waited on after an attempt that did not, and what was there then.
    [[nodiscard]] std::uint32_t* word() const noexcept { return word_; }
    [[nodiscard]] std::uint32_t expected() const noexcept { return expected_; }
    /// As `LockWaiter::woken`.
    void woken() noexcept { waiter_.woken(); }

private:
    const SharedLock& lock_;
    LockWaiter waiter_;
    std::optional<WriteGuard> guard_;
    std::uint32_t row_ = 0;  // whose readers it waits for
    bool ready_ = false;
    std::uint32_t* word_ = nullptr;
    std::uint32_t expected_ = 0;
};

/// Waits to read under a `SharedLock`, as `WriteWaiter`.
class ReadWaiter {
public:
    inline explicit ReadWaiter(const SharedLock& lock) noexcept : lock_{lock} {}
    ReadWaiter(const ReadWaiter&) = delete;
    ReadWaiter& operator=(const ReadWaiter&) = delete;
    /// Lets go of a lock that was taken and not asked for, and does not keep writers out any more.
    ~ReadWaiter();

    /// Takes the lock unless there is a writer. Errors: those of `SharedLock::lock_shared`, but
    /// ETIMEDOUT.
    [[nodiscard]] Result<void> attempt();
    /// Returns the guard once, after an attempt that took the lock.
    [[nodiscard]] std::optional<ReadGuard> taken() noexcept;
    /// Return what is to be waited on after an attempt that did not, and what was there then.
    [[nodiscard]] std::uint32_t* word() const noexcept;
    [[nodiscard]] std::uint32_t expected() const noexcept { return expected_; }
    /// As `LockWaiter::woken`.
    void woken() noexcept {}

private:
    void enough() noexcept;

    const SharedLock& lock_;
    Instant begin_{};
    bool waited_ = false;
    bool impatient_ = false;  // has set the bit
    bool ready_ = false;
    std::uint32_t expected_ = 0;
};

}  // namespace ringfort::shm
