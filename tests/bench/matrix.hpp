#pragma once
// The matrix: which loads there are, and which of them a run puts on whom.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bench {

/// What a contestant does with what it receives.
enum class Kind : std::uint8_t { echo, relay };

/// What the connections of a cell do, and which figure of the server is the point of it.
enum class Work : std::uint8_t {
    round_trips,  ///< CPU per request
    churn,        ///< CPU per connection
    bulk,         ///< CPU per GiB
    idle,         ///< memory per connection
    calls,        ///< system calls per request
};

/// One load.
struct CellSpec {
    Kind kind = Kind::echo;
    Work work = Work::round_trips;
    std::uint32_t connections = 1;
    std::size_t payload_bytes = 64;
    std::uint32_t depth = 1;

    /// Returns the name by which `--cells` picks it: "echo-c50-p64-d1", "relay-bulk-c10".
    [[nodiscard]] std::string name() const;
    /// Says the same for people.
    [[nodiscard]] std::string title() const;
    /// Names the unit of its figure.
    [[nodiscard]] std::string unit() const;
};

/// Every cell.
[[nodiscard]] std::vector<CellSpec> all_cells();
/// The cells of `--quick`, and those that the bars of docs/performance.md need.
[[nodiscard]] std::vector<CellSpec> quick_cells();
[[nodiscard]] std::vector<CellSpec> bar_cells();
/// Returns those that count system calls.
[[nodiscard]] std::vector<CellSpec> calls_cells();

/// Tells whether one of the patterns (as fnmatch(3) takes them) matches the name; no pattern
/// matches everything.
[[nodiscard]] bool selected(const std::vector<std::string>& patterns, const std::string& name);

}  // namespace bench
