#pragma once
// How evenly our workers share the connections of one listener, and how long a connection waits
// while one of them is stopped.
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bars.hpp"
#include "cell.hpp"

namespace bench {

/// What was found. A skew is what the busiest worker accepted over the mean of all: 1 is even.
struct Accepts {
    std::vector<double> churn_skews;   ///< connect, one request, close; one figure a round
    std::vector<double> held_skews;    ///< connections that stay open, many begun at once
    std::vector<double> single_skews;  ///< the same, one begun after the other
    std::vector<double> stopped_ms;    ///< connect and one request while one worker is stopped
    std::vector<double> usual_ms;      ///< the same with nobody stopped
};

/// Returns the largest of the counts over their mean; 1 when nothing was counted.
[[nodiscard]] double skew_of(const std::vector<std::uint64_t>& counts);

/// Starts our echo with as many workers as the launch says and counts what each accepts. Takes some
/// ten seconds. Throws std::runtime_error with the reason when it cannot be measured.
[[nodiscard]] Accepts measure_accepts(const Launch& launch,
                                      const std::function<bool()>& interrupted);

/// Adds the figures that the bars judge: the medians "accept skew, churn", "accept skew, held" and
/// "accept skew, one by one", and "longest wait with a worker stopped, ms", which is how much
/// longer the longest took than a usual one.
void add_figures(const Accepts& accepts, Figures& figures);

/// Lays them out as a table.
[[nodiscard]] std::string to_table(const Accepts& accepts);

}  // namespace bench
