module;
#include <chrono>
#include <string>
export module ringfort.base:clock;

export namespace ringfort {

/// The unit of every time limit.
using Milliseconds = std::chrono::milliseconds;

/// A point on the monotonic clock: no jump of the wall clock moves it.
using Instant = std::chrono::steady_clock::time_point;

/// Reads the monotonic clock.
[[nodiscard]] inline Instant now() noexcept {
    return std::chrono::steady_clock::now();
}

/// Formats the wall clock as RFC 3339 in UTC with milliseconds, for logs.
[[nodiscard]] std::string wall_clock_text();

}  // namespace ringfort
