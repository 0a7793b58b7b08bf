// The generic cell rate algorithm: a bucket is one moment, at which it will be full again. That is
// also when its entry in the map expires, so that an entry that is gone and a full bucket are the
// same.
module;
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

using std::chrono::nanoseconds;

constexpr std::int64_t longest_ns = 100LL * 366 * 86'400 * 1'000'000'000;

struct Pace {
    std::int64_t interval_ns;  // for a token
    std::int64_t full_ns;      // for a bucket
};

Result<Pace> pace_of(Rate rate) {
    const Error refused{"limit a rate", std::errc::invalid_argument};
    if (rate.tokens == 0 || rate.burst == 0 || rate.per <= Milliseconds{0} ||
        rate.per > Milliseconds{longest_ns / 1'000'000})
        return refused;
    const std::uint64_t interval =
        static_cast<std::uint64_t>(nanoseconds{rate.per}.count()) / rate.tokens;
    if (interval == 0 || rate.burst > static_cast<std::uint64_t>(longest_ns) / interval)
        return refused;
    return Pace{static_cast<std::int64_t>(interval),
                static_cast<std::int64_t>(interval * rate.burst)};
}

}  // namespace

Result<RateVerdict> RateLimiter::take(std::string_view key, Rate rate, Instant now,
                                      std::uint64_t tokens) const {
    const auto once = [&] {
        return transact(map_.pool(), [&](Transaction& transaction) {
            return take(transaction, key, rate, now, tokens);
        });
    };
    Result<RateVerdict> verdict = once();
    if (verdict || !verdict.error().is(std::errc::not_enough_memory)) return verdict;
    // Some of the map, so that a pool that stays full costs each key a bounded time.
    std::uint32_t expired = 0;
    for (std::uint32_t swept = 0, n = 0;
         expired == 0 && n < limits::rate_sweeps && swept < map_.buckets();
         ++n, swept += limits::map_sweep_buckets) {
        RF_TRY(transact(map_.pool(), [&](Transaction& transaction) -> Result<void> {
            expired = map_.expire(transaction, now);
            return {};
        }));
    }
    return expired == 0 ? verdict : once();
}

Result<RateVerdict> RateLimiter::take(Transaction& transaction, std::string_view key, Rate rate,
                                      Instant now, std::uint64_t tokens) const {
    RF_LET(const Pace pace, pace_of(rate));
    if (tokens > rate.burst) return RateVerdict{false, Milliseconds::max()};
    const Instant full = map_.expiry(transaction, bytes_of(key), now).value_or(now);
    // A bucket that takes longer to fill than this rate says was one of a slower rate: it is empty,
    // and fills from now on at this one.
    const bool slower = full - now > nanoseconds{pace.full_ns};
    const nanoseconds missing = slower ? nanoseconds{pace.full_ns} : nanoseconds{full - now};
    const nanoseconds after =
        missing + nanoseconds{static_cast<std::int64_t>(tokens) * pace.interval_ns};
    if (after > nanoseconds{pace.full_ns}) {
        if (slower) RF_TRY(map_.put(transaction, bytes_of(key), {}, now + missing));
        return RateVerdict{false,
                           std::chrono::ceil<Milliseconds>(after - nanoseconds{pace.full_ns})};
    }
    if (tokens != 0) RF_TRY(map_.put(transaction, bytes_of(key), {}, now + after));
    return RateVerdict{true, Milliseconds{0}};
}

Result<std::uint64_t> RateLimiter::size() const {
    return transact(map_.pool(), [&](Transaction& transaction) -> Result<std::uint64_t> {
        return map_.size(transaction);
    });
}

}  // namespace ringfort::shm
