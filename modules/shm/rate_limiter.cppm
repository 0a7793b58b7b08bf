export module ringfort.shm:rate_limiter;

import ringfort.base;
import ringfort.std;
import :journal;
import :map;
import :on_map;
import :pool;
import :word;

export namespace ringfort::shm {

/// How fast a bucket fills, and how much it holds.
struct Rate {
    std::uint64_t tokens = 1;  ///< so many
    Milliseconds per{1'000};   ///< in so long
    std::uint64_t burst = 1;   ///< and at most so many at once
};

/// What became of a wish for tokens.
struct RateVerdict {
    bool allowed = false;
    Milliseconds retry_after{0};  ///< if not: when there will be enough, rounded up
};

/// Token buckets in a pool, one for each key: what all workers together may do. A bucket is full
/// when it is not there, and costs nothing then. Rates are the caller's, so that a reload changes
/// them without losing the buckets.
///
/// A view, as `Map`: valid as long as the pool it was made or opened with. Cheap to copy.
class RateLimiter : public OnMap<RateLimiter> {
public:
    /// Takes `tokens` out of a key's bucket if there are as many; otherwise takes none. More than
    /// `rate.burst` there never are: `retry_after` is then the largest there is. Errors: EINVAL for
    /// a rate of nothing, of more than a token in a nanosecond, or whose bucket takes longer than
    /// 100 years to fill; ENOMEM if the pool has no room for the key, and none of the buckets
    /// looked at, up to `limits::rate_sweeps` times `limits::map_sweep_buckets`, is full again;
    /// those of `Pool::begin`.
    [[nodiscard]] Result<RateVerdict> take(std::string_view key, Rate rate, Instant now,
                                           std::uint64_t tokens = 1) const;
    /// As above, within a larger transaction: ENOMEM then means that `expire` might help.
    [[nodiscard]] Result<RateVerdict> take(Transaction& transaction, std::string_view key,
                                           Rate rate, Instant now, std::uint64_t tokens = 1) const;

    /// Forgets some of the buckets that are full again, as `Map::expire`; returns how many.
    std::uint32_t expire(Transaction& transaction, Instant now) const noexcept {
        return map_.expire(transaction, now);
    }
    /// Forgets the buckets that are full again; returns how many. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<std::uint64_t> expire(Instant now) const { return expire_all(map_, now); }
    /// Returns how many keys have a bucket, full ones that are still there included. Errors: those
    /// of `Pool::begin`.
    [[nodiscard]] Result<std::uint64_t> size() const;

private:
    friend class OnMap<RateLimiter>;

    // What the map is for.
    static constexpr Word schema = 0x312f'6574'6172'7220;  // " rrate/1"

    explicit RateLimiter(const Map& map) noexcept : OnMap{map} {}
};

}  // namespace ringfort::shm
