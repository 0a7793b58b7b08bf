export module ringfort.shm:journal;

import ringfort.base;
import ringfort.std;
import :layout;
import :lock;
import :word;

export namespace ringfort::shm {

/// What structures in a pool are made of: words and nothing else, so that each can be changed
/// whole.
template <class T>
concept Words = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T> &&
                sizeof(T) % sizeof(Word) == 0 && alignof(T) == alignof(Word);

/// A change of a pool that happens as a whole or not at all, whatever becomes of the process that
/// makes it. Holds the pool's lock from its beginning (`Pool::begin`) to its end; ends by `commit`,
/// or is rolled back. Everything in a pool is read and changed through one, several structures in
/// one transaction if they are to change together.
///
/// Offsets are checked before they are used. One that leads nowhere fails no single call: it reads
/// as zeros, changes nothing, and the transaction cannot be committed any more (EBADMSG). So loops
/// over what is in a pool have to be bounded, and nothing else.
///
/// Changes at most `limits::journal_entries` words; the allocator's own are up to 110 for the first
/// allocation, 30 for each further one, and 22 for a block that is given back. One that would
/// change more changes no further word, and cannot be committed (ENOBUFS). Moves, never copies. The
/// Pool outlives it.
class Transaction {
public:
    inline Transaction(Transaction&& other) noexcept
        : geometry_{other.geometry_},
          guard_{std::move(other.guard_)},
          number_{other.number_},
          count_{std::exchange(other.count_, 0)},
          frees_{std::exchange(other.frees_, 0)},
          wakes_{std::exchange(other.wakes_, 0)},
          open_{std::exchange(other.open_, false)},
          broken_{other.broken_},
          full_{other.full_} {
        for (std::uint32_t n = 0; n < frees_; ++n) freed_[n] = other.freed_[n];
        for (std::uint32_t n = 0; n < wakes_; ++n) woken_[n] = other.woken_[n];
#ifdef RINGFORT_SHM_STEPS
        own_ = other.own_;
        owns_ = other.owns_;
#endif
    }
    Transaction& operator=(Transaction&&) = delete;
    /// Rolls back what was not committed.
    inline ~Transaction() {
        if (open_) [[unlikely]]
            end_open();
    }

    /// Returns what lies at `offset`, in a block of the pool: its words are read with `get` and
    /// changed with `set`, never directly. Aligned to 8.
    template <Words T>
    [[nodiscard]] inline T& at(Offset offset) noexcept {
        static_assert(sizeof(T) <= sizeof nothing);
        if (!inside(offset, sizeof(T)) || offset % alignof(T) != 0) [[unlikely]]
            return absent<T>();
        return geometry_->at<T>(offset);
    }
    /// Returns `size` bytes of a block, to be read; none if they are not all in the pool.
    [[nodiscard]] inline std::span<const std::byte> bytes(Offset offset,
                                                          std::uint64_t size) noexcept {
        if (!inside(offset, size)) [[unlikely]] {
            broken_ = true;
            return {};
        }
        return {geometry_->base + offset, size};
    }

    /// Changes a word of the pool.
    inline void set(Word& word, Word value) noexcept {
        const Offset offset = offset_of(word);
        if (offset - geometry_->roots >= geometry_->books_end - geometry_->roots ||
            count_ == limits::journal_entries) [[unlikely]]
            return refuse();
#ifndef RINGFORT_SHM_UNJOURNALED
        Journal& journal = geometry_->journal();
        JournalEntry& entry = journal.entries[count_];
        put(entry.where, number_ << Journal::where_shift | offset);
        put(entry.old, get(word));
        put(journal.state, number_ << Journal::number_shift | count_ + 1);
        // Who looks without the lock and sees anything of this change sees the count as well.
        if (count_++ == 0) std::atomic_thread_fence(std::memory_order_release);
#endif
        put(word, value);
    }
    /// Returns what a word was when the transaction began, and is again if it is rolled back.
    [[nodiscard]] Word before(const Word& word) const noexcept;
    /// Sets a word of a block that this transaction has allocated, which needs no journal: rolled
    /// back, the block is nobody's.
    inline void init(Word& word, Word value) noexcept {
        if (!inside(offset_of(word), sizeof word)) [[unlikely]] {
            broken_ = true;
            return;
        }
        ensure_own(offset_of(word), sizeof word);
        put(word, value);
    }
    /// Copies bytes into a block that this transaction has allocated; as for `init`.
    void write(Offset offset, std::span<const std::byte> source) noexcept;
    /// Says that bytes of a block of an earlier transaction mean nothing to anybody, so that `init`
    /// and `write` may be used on them. Does nothing but in the build for tests that look at every
    /// store, which aborts for a store that would need the journal.
    inline void claim(Offset offset, std::uint64_t size) noexcept {
#ifdef RINGFORT_SHM_STEPS
        own_[owns_++ % own_.size()] = {offset, size};
#else
        static_cast<void>(offset), static_cast<void>(size);
#endif
    }

    /// Takes a block of at least `size` bytes, aligned to 16, with arbitrary contents; bounded in
    /// time. Returns 0 if there is none, which is counted, or for a size of 0. Never a block that
    /// this transaction has given back.
    [[nodiscard]] Offset allocate(std::uint64_t size) noexcept;
    /// Gives a block back, when the transaction is committed: until then it stays as it is, for it
    /// is wanted again if the transaction is rolled back. Bounded in time; up to
    /// `limits::transaction_frees` in a transaction, which cannot be committed otherwise (ENOBUFS).
    /// Errors, which change nothing: EFAULT for what lies outside of the pool's pages, EINVAL for
    /// what is not the beginning of a block, ENXIO for a block that is free already.
    [[nodiscard]] Result<void> free(Offset block) noexcept;
    /// Gives back a block that a structure refers to: what `free` would call an error is
    /// corruption.
    void release(Offset block) noexcept;
    /// Returns how many bytes a block has, at least those asked for; 0 if it is none.
    [[nodiscard]] std::uint64_t size_of(Offset block) noexcept;

    /// Wakes whoever sleeps on the low half of a word of the pool, when this transaction has been
    /// committed and has let go of the lock: nobody if it is rolled back. For up to two words of
    /// each structure.
    void wake_after(Word& word) noexcept;

    /// Marks the pool as corrupted, when the caller has found something that cannot be: the
    /// transaction goes on, reading zeros where it is led astray, and cannot be committed.
    inline void fail() noexcept { broken_ = true; }
    /// Reports whether it cannot be committed any more.
    [[nodiscard]] inline bool failed() const noexcept { return broken_ || full_; }

    /// Makes the changes final and lets go of the lock: the end, after which nothing else is
    /// called. Errors, after which everything is rolled back: EBADMSG if something corrupted was
    /// found, and the pool is quarantined; ENOBUFS if it has changed too many words.
    [[nodiscard]] inline Result<void> commit() noexcept {
        ensure(open_, "a transaction that is committed twice");
        if (frees_ != 0) free_all();
        if (failed()) [[unlikely]]
            return give_up();
        // The one store at which it happens.
        if (count_ != 0) publish(geometry_->journal().state, Journal::empty_after(number_));
        open_ = false;
        guard_.unlock();
        if (wakes_ != 0) [[unlikely]]
            wake_all();
        return {};
    }

private:
    friend class Pool;
    friend class Slab;

    // What an offset that leads nowhere shows: zeros, in memory that nobody can write.
    alignas(16) static constexpr std::array<std::byte, 512> nothing{};

    inline Transaction(const Geometry& geometry, Guard guard) noexcept
        : geometry_{&geometry},
          guard_{std::move(guard)},
          number_{Journal::number_of(get(geometry.journal().state))} {}

    [[nodiscard]] inline bool inside(Offset offset, std::uint64_t size) const noexcept {
        return offset >= geometry_->first_page && offset <= geometry_->end &&
               size <= geometry_->end - offset;
    }
    [[nodiscard]] inline Offset offset_of(const Word& word) const noexcept {
        return reinterpret_cast<std::uintptr_t>(&word) -
               reinterpret_cast<std::uintptr_t>(geometry_->base);
    }
    template <class T>
    [[nodiscard]] T& absent() noexcept {
        broken_ = true;
        return const_cast<T&>(reinterpret_cast<const T&>(nothing));
    }
    inline void ensure_own(Offset offset, std::uint64_t size) const noexcept {
#ifdef RINGFORT_SHM_STEPS
        for (const Range& own : own_)
            if (offset >= own.begin && offset + size <= own.begin + own.size) return;
        ensure(owns_ > own_.size(), "a store without the journal, into what others may read");
#else
        static_cast<void>(offset), static_cast<void>(size);
#endif
    }
    [[nodiscard]] bool freed(Offset block) const noexcept;
    void free_all() noexcept;
    void wake_all() const noexcept;
    void refuse() noexcept;
    void end_open() noexcept;
    Result<void> give_up() noexcept;

    const Geometry* geometry_;
    Guard guard_;
    Word number_;
    std::uint32_t count_ = 0;
    std::uint32_t frees_ = 0;
    std::uint32_t wakes_ = 0;
    bool open_ = true;
    bool broken_ = false;
    bool full_ = false;
    std::array<Offset, limits::transaction_frees> freed_;       // the first `frees_`
    std::array<std::uint32_t*, 2 * limits::pool_roots> woken_;  // the first `wakes_`
#ifdef RINGFORT_SHM_STEPS
    struct Range {
        Offset begin;
        std::uint64_t size;
    };
    std::array<Range, 64> own_{};  // what it may write without the journal: the last of them
    std::size_t owns_ = 0;
#endif
};

}  // namespace ringfort::shm

namespace ringfort::shm {

// Restores what the journal has recorded and empties it; the caller holds the lock. Can be cut off
// anywhere and done again. Returns false for a journal that no transaction wrote: it restores what
// can be restored, and the pool is to be quarantined.
bool roll_back(const Geometry& geometry) noexcept;
void quarantine(const Geometry& geometry) noexcept;

}  // namespace ringfort::shm
