export module ringfort.shm:pool;

import ringfort.base;
import ringfort.std;
import :glance;
import :journal;
import :layout;
import :lock;
import :owners;
import :slab;
import :word;
import :zone;

export namespace ringfort::shm {

/// A zone laid out for structures: a lock, a journal, a table of owners, an allocator. Whatever is
/// killed whenever, what is in it is what whole transactions have made it.
///
/// Who lays a zone out keeps it: the keeper, the master, admits the other owners and buries them.
/// In a binary upgrade there are several for a while, who can bury each other. A view with the
/// identity of the process that looks: valid as long as the zone lives. Cheap to copy; what is
/// begun on it (`Transaction`, `Guard`) refers to it, so it has to stay where it is meanwhile.
class Pool {
public:
    /// Returns the zone size needed for `rows` owners and `content` bytes of blocks of whole pages.
    [[nodiscard]] static Bytes zone_size(std::uint32_t rows, Bytes content) noexcept;

    /// Lays the zone out, empty, for up to `rows` owners at a time besides the keeper, which the
    /// caller becomes. Done once, by the zone's creator, before others attach. Errors: EEXIST for a
    /// zone that is laid out already, see `rebuild`; EINVAL for no rows or more than
    /// `limits::max_counter_rows`; ENOSPC for a zone without room for a page.
    [[nodiscard]] static Result<Pool> format(Zone& zone, std::uint32_t rows);

    /// Attaches to a zone laid out by `format`, as the owner that its keeper has admitted. Errors:
    /// EBADMSG for a header that `format` did not write, or a quarantined pool; EPROTO for another
    /// layout version; EOWNERDEAD for an owner that is not alive.
    [[nodiscard]] static Result<Pool> attach(Zone& zone, Owner self);
    /// As above, as the owner that lives in a row. Error besides: EOWNERDEAD if nobody does.
    [[nodiscard]] static Result<Pool> attach(Zone& zone, std::uint32_t row);
    /// Reports whether somebody has found the zone's content corrupted, or it is no zone or no pool
    /// that this version could attach to.
    [[nodiscard]] static bool unusable(Zone& zone);

    /// Attaches as the only keeper, when all before have gone: a successor of a master that is
    /// dead. What they held is recovered. Does so even to a quarantined pool, so that it can be
    /// rebuilt. Errors: EBADMSG for a header that `format` did not write; EPROTO for another layout
    /// version.
    [[nodiscard]] static Result<Pool> keep(Zone& zone, OwnerName name = {});
    /// Attaches as a further keeper, while those before live: the new master in a binary upgrade.
    /// Errors: those of `keep`; EBUSY if there are four already.
    [[nodiscard]] static Result<Pool> join(Zone& zone, OwnerName name = {});

    /// Lays out `into`, a zone that is new, with what is in `from`: every structure is there under
    /// its number, every block at its offset, and what the zone is larger by is free. The table of
    /// owners is the same: who lives does in both, `from`'s own owner is who the pool returned
    /// belongs to, and what the others hold of a `ConnectionLimiter` is to be healed in both when
    /// they are buried in both. What happens in one from here on does not happen in the other.
    ///
    /// Holds `from`'s lock while it copies the pages in use, up to `most` bytes; the kernel's part,
    /// that the memory is there, is done before. What is changed without transactions, under a
    /// `SharedLock`, has to be left alone meanwhile. Killed at any moment, `from` is as it was, and
    /// `into` no pool, which can be grown into again. Errors: EEXIST if `into` is laid out already;
    /// ENOSPC if it has room for fewer pages than `from`; EFBIG if more would have to be copied;
    /// EBADMSG if the allocator's books disagree, which quarantines `from`; those of madvise(2) for
    /// want of memory; those of `begin`.
    [[nodiscard]] static Result<Pool> grow(const Pool& from, Zone& into,
                                           Bytes most = limits::max_grown_content);
    /// Returns how much `grow` would copy, as it seems without the lock: books and pages in use.
    /// Errors: those of `attach`, but for its owner.
    [[nodiscard]] static Result<Bytes> content(Zone& zone);

    /// Admits a process as the owner of a row. For the keeper. Errors: EINVAL for a row not below
    /// `rows`, EBUSY if its owner has not been buried.
    [[nodiscard]] Result<Owner> admit(std::uint32_t row, OwnerName name) const;

    /// Buries the owner of a row: rolls back what it had begun, and frees the lock if it held it.
    /// Only after the process has been reaped; doing it again is harmless. For the keeper. Returns
    /// whether there was something to recover. Errors: EINVAL for a row not below `rows`; EBADMSG
    /// if what is found then is corrupted: the pool is quarantined, and the lock free nevertheless.
    [[nodiscard]] Result<bool> bury(std::uint32_t row) const;
    /// As above, unless the row has another owner by now: for two keepers who may both learn of the
    /// end of one process.
    [[nodiscard]] Result<bool> bury(Owner owner) const;
    /// Buries all other keepers: when an upgrade is over and the old master has gone, or when the
    /// new one has failed. As `bury`. Errors: EPERM if the caller is no keeper.
    [[nodiscard]] Result<bool> bury_keeper() const;

    /// Empties a pool, quarantined or not, whose table of owners stays as it is: who was alive is,
    /// and no epoch comes again. For the keeper, while nobody uses the pool: the workers have been
    /// ended, or have not opened anything yet, since what they opened is gone. Killed in between,
    /// it is done again: the pool is quarantined meanwhile. Blocks as `begin`. Errors: EPERM if the
    /// caller is no keeper; those of `Lock::lock` but EBADMSG: a word that no owner wrote is
    /// repaired.
    [[nodiscard]] Result<void> rebuild() const;

    /// Begins a transaction; blocks until the lock is free, for up to `limits::lock_wait_ms`. What
    /// a dead owner has left half done is rolled back. Errors: those of `Lock::lock`, whose EBADMSG
    /// quarantines the pool; EBADMSG for a quarantined pool; EOWNERDEAD for an owner that has been
    /// buried, as a keeper that another one took for dead.
    [[nodiscard]] inline Result<Transaction> begin() const {
        Result<Guard> guard = lock_.lock();
        if (!guard) [[unlikely]]
            return refused(guard.error());
        return start(*std::move(guard));
    }
    /// Begins a transaction if the lock is free; never blocks. Errors: those of `begin` but
    /// ETIMEDOUT.
    [[nodiscard]] Result<std::optional<Transaction>> try_begin() const;
    /// Begins a transaction with the lock taken already, by a `LockWaiter` on `lock()`, say. Aborts
    /// for a guard of another lock, or one that has let go. Errors: as above.
    [[nodiscard]] inline Result<Transaction> begin(Guard guard) const {
        ensure(lock_.holds(guard), "a transaction with the guard of another lock");
        return start(std::move(guard));
    }

    /// Returns the lock that transactions hold.
    [[nodiscard]] const Lock& lock() const noexcept { return lock_; }
    /// Returns the table of owners.
    [[nodiscard]] Owners owners() const noexcept { return {geometry_.owners(), geometry_.rows}; }
    /// Returns who this process is to the pool.
    [[nodiscard]] Owner self() const noexcept { return self_; }
    /// Returns how many owners can be admitted.
    [[nodiscard]] std::uint32_t rows() const noexcept { return geometry_.rows - keeper_rows; }

    /// Returns the block that structure number `number` begins with, 0 if there is none. Errors:
    /// EINVAL for a number not below `limits::pool_roots`; EPROTO if what is there has another tag.
    [[nodiscard]] Result<Offset> root(std::uint32_t number, Word tag) const;
    /// As above, within a transaction: who makes the structure in the same one is the only one.
    [[nodiscard]] Result<Offset> root(Transaction& transaction, std::uint32_t number,
                                      Word tag) const;
    /// Notes, as part of a transaction, where structure `number` begins. A number that there is not
    /// aborts.
    void set_root(Transaction& transaction, std::uint32_t number, Word tag, Offset block) const;

    /// Returns the allocator's figures. Errors: those of `begin`.
    [[nodiscard]] Result<PoolStatistics> statistics() const;
    /// As above, if the lock is free; never blocks.
    [[nodiscard]] Result<std::optional<PoolStatistics>> try_statistics() const;
    /// Compares the allocator's books with each other, which takes as long as the pool is large,
    /// under the lock. Errors: EBADMSG if they disagree: the pool is quarantined; those of `begin`.
    [[nodiscard]] Result<void> check() const;
    /// Marks the pool as corrupted, for who finds in a structure what cannot be there.
    void quarantine() const noexcept;
    /// Reports whether something in the pool was found corrupted: until it is laid out anew, every
    /// operation fails.
    [[nodiscard]] bool quarantined() const noexcept {
        return get(geometry_.journal().quarantined) != 0;
    }

private:
    friend class Map;
    friend class SeqWords;
    friend class SharedLock;

    Pool(const Geometry& geometry, Owner self) noexcept
        : geometry_{geometry},
          self_{self},
          lock_{geometry.lock(), Owners{geometry.owners(), geometry.rows}, self} {}

    [[nodiscard]] Glance glance() const noexcept { return {geometry_, self_}; }
    [[nodiscard]] static Result<void> copy(const Pool& from, const Geometry& to, Bytes most);
    [[nodiscard]] static Result<Geometry> geometry_of(Zone& zone);
    [[nodiscard]] inline Result<Transaction> start(Guard guard) const {
        if (Journal::count_of(get(geometry_.journal().state)) != 0 ||
            get(geometry_.journal().quarantined) != 0) [[unlikely]] {
            if (Result<void> sound = recover(); !sound) return sound.error();
        }
        if (!owners().alive(self_)) [[unlikely]]
            return Error{"begin a transaction: its owner", std::errc::owner_dead};
        return Transaction{geometry_, std::move(guard)};
    }
    [[nodiscard]] Error refused(Error error) const noexcept;
    [[nodiscard]] Result<void> recover() const;
    [[nodiscard]] Result<bool> recover_from(std::uint32_t row) const;
    [[nodiscard]] static Result<Pool> attach_keeper(Zone& zone, bool alone, OwnerName name);

    Geometry geometry_;
    Owner self_;
    Lock lock_;
};

/// Runs `work` as one transaction: commits if it returns a success, rolls back otherwise. `work`
/// takes a Transaction& and returns a Result. Errors: those of `Pool::begin`, of `work`, and of
/// `Transaction::commit`.
template <class Work>
auto transact(const Pool& pool, Work work) -> decltype(work(std::declval<Transaction&>())) {
    Result<Transaction> transaction = pool.begin();
    if (!transaction) return transaction.error();
    auto result = work(*transaction);
    if (!result && !transaction->failed()) return result.error();
    if (Result<void> done = transaction->commit(); !done) return done.error();
    return result;
}

}  // namespace ringfort::shm

namespace ringfort::shm {

// Whether a structure is to be there.
enum class Obtain : std::uint8_t { make, open, either };

// Looks for structure `number` and, unless it is there, makes it, in one transaction: so of those
// who make one at the same time one does. `make` takes the transaction and sets the root, `open`
// takes besides where the structure begins.
template <class T, class Make, class Open>
Result<T> obtain(const Pool& pool, std::uint32_t number, Word tag, Obtain how, Make make,
                 Open open) {
    return transact(pool, [&](Transaction& transaction) -> Result<T> {
        const Result<Offset> at = pool.root(transaction, number, tag);
        if (!at) return at.error();
        if (*at == 0 && how == Obtain::open)
            return Error{"open a structure: none", std::errc::no_such_file_or_directory};
        if (*at != 0 && how == Obtain::make)
            return Error{"make a structure: there is one", std::errc::file_exists};
        return *at == 0 ? make(transaction) : open(transaction, *at);
    });
}

}  // namespace ringfort::shm
