module;
#include <time.h>
export module ringfort.base:clock;

import ringfort.std;

export namespace ringfort {

/// The unit of every time limit.
using Milliseconds = std::chrono::milliseconds;

/// A point on the monotonic clock: no jump of the wall clock moves it.
using Instant = std::chrono::steady_clock::time_point;

/// Reads the monotonic clock.
[[nodiscard]] inline Instant now() noexcept {
    // What steady_clock::now does, without the way through libstdc++: read twice a turn, and cold
    // after every sleep.
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return Instant{std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec}};
}

/// Formats the wall clock as RFC 3339 in UTC with milliseconds, for logs.
[[nodiscard]] std::string wall_clock_text();

}  // namespace ringfort
