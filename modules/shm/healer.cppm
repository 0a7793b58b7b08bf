export module ringfort.shm:healer;

import ringfort.base;
import ringfort.std;
import :pool;

export namespace ringfort::shm {

/// What a part of the healing came to.
enum class Healing : std::uint8_t {
    through,  ///< all is done
    more,     ///< there is more to do
    refused   ///< the lock was not free
};

/// Does after burials what `Pool::bury` leaves, a part at a time: for a master that has other work.
/// First it lets go of the `SharedLock`s that dead owners hold, and wakes whoever a dead one may
/// have left asleep, for one of them or for a `Queue`; then it gives back what buried owners held
/// in connection limiters. Killed meanwhile, or forgotten, it is begun anew.
class Healer {
public:
    explicit Healer(const Pool& pool) noexcept : pool_{pool} {}

    /// Does a part, in one transaction, if the lock is free; never blocks. Unless all is done, call
    /// it again, later. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<Healing> step();

private:
    Pool pool_;
    bool woken_ = false;
    std::uint32_t root_ = 0;    // the structure to go on with
    std::uint32_t bucket_ = 0;  // of it
};

}  // namespace ringfort::shm
