module;
#include <poll.h>
export module ringfort.master:pools;

import ringfort.base;
import ringfort.cycle;
import ringfort.shm;
import ringfort.std;

export namespace ringfort::master {

/// The pools among the zones of all cycles, as their keeper has them: it admits the workers, and
/// buries them when they have ended. Never blocks.
///
/// A pool may have owners that are not this master's: workers of a master that it succeeds, or of
/// one that succeeds it. Whose master lives is buried by that; all of them are watched, since a
/// master may end before its workers.
class Pools {
public:
    /// Keeps the pools among `zones` from now on, those that it does not keep yet. `company` says
    /// whether another living master keeps them as well. One that cannot be kept is reported, and
    /// refused to the workers.
    void keep(const std::vector<cycle::SharedZone>& zones, bool company);
    /// Forgets the zones that nobody else holds any more.
    void release();

    /// Returns the pool in a zone, as this process's own; nullptr for none that is kept.
    [[nodiscard]] const shm::Pool* find(const shm::Zone& zone) const noexcept;
    /// Returns the pool in a zone, to be read by this process. Errors: ENOENT for none that is
    /// kept.
    [[nodiscard]] Result<shm::Pool> open(const shm::Zone& zone) const;
    /// Tells whether nobody owns the row in any pool that is sound.
    [[nodiscard]] bool is_free(std::uint32_t row) const noexcept;
    /// Admits a process that this master has started, or this one, to a row in all sound pools.
    void admit(std::uint32_t row, shm::OwnerName name);
    /// Buries whoever was admitted so, and has been reaped: what it had begun in any pool is rolled
    /// back, and what it held there given back, the latter by `tend`.
    void bury(std::uint32_t row, const shm::OwnerName& name);

    /// Watches the owners, keepers included, that are not this master's. `own` are the processes
    /// that are; `company` says that others may live of which it cannot be told, since /proc is not
    /// to be read: they are left alone.
    void watch(const std::vector<std::uint64_t>& own, bool company);
    /// Tells whether some could not be looked at, so that `watch` is to be called again.
    [[nodiscard]] bool unsure() const noexcept { return unsure_; }
    /// Appends what is to be polled before the next `tend`.
    void add_to(std::vector<pollfd>& polled) const;
    /// Returns when to call `tend` though nothing happens.
    [[nodiscard]] std::optional<Instant> next_deadline() const noexcept { return due_; }
    /// Buries watched owners that have ended, goes on giving back what dead ones held, and reports
    /// pools that somebody has found corrupted.
    void tend(Instant time);

private:
    struct Kept {
        cycle::SharedZone zone;
        shm::Pool pool;
        std::optional<shm::Healer> healing = {};
        bool reported = false;  ///< that it is corrupted
    };

    static void bury(Kept& kept, const Result<bool>& buried, std::uint32_t row);
    void bury_process(std::uint64_t identity);
    [[nodiscard]] static shm::Healing heal(Kept& kept);

    std::vector<Kept> kept_;
    std::map<std::uint64_t, Fd> watched_;  ///< pidfds, by identity
    std::optional<Instant> due_;
    bool unsure_ = false;
};

/// Says for people what is in a zone and how it is used, a line each. `pool` is nullptr for one
/// that cannot be used.
[[nodiscard]] std::string describe(const shm::Zone& zone, const shm::Pool* pool);

}  // namespace ringfort::master
