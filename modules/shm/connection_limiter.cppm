export module ringfort.shm:connection_limiter;

import ringfort.base;
import ringfort.std;
import :journal;
import :map;
import :on_map;
import :owners;
import :pool;
import :word;

export namespace ringfort::shm {

/// Counts what is held at the same time, connections of a client say, over all workers, for each
/// key. What each worker holds is counted besides, so that what a dead one held can be given back.
///
/// A view, as `Map`: valid as long as the pool it was made or opened with. Cheap to copy.
class ConnectionLimiter : public OnMap<ConnectionLimiter> {
public:
    /// Counts one more for a key, held by the calling owner, unless `limit` are held already;
    /// returns whether it did. Errors: EINVAL for a key over `limits::max_limited_key` bytes;
    /// ENOMEM; those of `Pool::begin`.
    [[nodiscard]] Result<bool> acquire(std::string_view key, std::uint64_t limit) const;
    /// Gives back one that the calling owner holds. Errors: ENOENT if it holds none; those of
    /// `acquire`.
    [[nodiscard]] Result<void> release(std::string_view key) const;
    /// Returns how many are held. Errors: those of `acquire`.
    [[nodiscard]] Result<std::uint64_t> count(std::string_view key) const;

    /// As the functions above, within a larger transaction.
    [[nodiscard]] Result<bool> acquire(Transaction& transaction, std::string_view key,
                                       std::uint64_t limit) const;
    [[nodiscard]] Result<void> release(Transaction& transaction, std::string_view key) const;
    [[nodiscard]] Result<std::uint64_t> count(Transaction& transaction, std::string_view key) const;

    /// Gives back what buried owners held, in many short transactions; returns how many. For the
    /// master, after `Pool::bury`: what a worker does that is killed meanwhile, or the master's
    /// successor, goes on with what is left. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<std::uint64_t> heal() const;

    /// Does a part of what `heal` does, in one transaction, and never blocks: for a master that has
    /// other work. Begins with bucket `cursor`, 0 at first, and moves it on. Returns whether it has
    /// come through; if not, call it again, later. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<bool> heal_some(std::uint32_t& cursor) const;

private:
    friend class Healer;
    friend class OnMap<ConnectionLimiter>;

    // What the map is for.
    static constexpr Word schema = 0x312f'6e6e'6f63'7220;  // " rconn/1"

    explicit ConnectionLimiter(const Map& map) noexcept : OnMap{map} {}

    [[nodiscard]] Result<void> give_back(Transaction& transaction, Owner owner,
                                         std::string_view key, std::uint64_t amount) const;
    [[nodiscard]] Result<std::uint64_t> heal_bucket(Transaction& transaction,
                                                    std::uint32_t bucket) const;
    // As much of it as fits into the transaction; returns whether it has come through.
    [[nodiscard]] Result<bool> heal_part(Transaction& transaction, std::uint32_t& cursor) const;
};

}  // namespace ringfort::shm
