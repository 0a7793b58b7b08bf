#pragma once
// One cell of the matrix: one load on several servers in turn, and what comes of it.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "contestant.hpp"
#include "matrix.hpp"
#include "surroundings.hpp"

import load;

namespace bench {

/// How a cell is run.
struct CellOptions {
    std::uint32_t pairs = 10;  ///< slices of each server
    std::chrono::milliseconds slice{500};
    Cores cores;                           ///< where server and load run, to see who else does
    const Contestant* upstream = nullptr;  ///< the echo behind relays
    std::function<bool()> interrupted;
};

/// What one server did in one slice.
struct Slice {
    double seconds = 0;
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;  ///< that came back
    CpuTime cpu;              ///< used inside the slice
    double upstream_s = 0;    ///< used by the echo behind a relay, if on one of the two cores
    /// Of the two cores' time, used by neither server, load nor the echo behind a relay. The
    /// kernel's idle clock is coarse: of one slice it can be below 0.
    double others_s = 0;
    double resident_bytes_per_connection = 0;  ///< idle only, as the next two
    double slab_bytes_per_connection = 0;
    double unreclaimable_bytes_per_connection = 0;
    double enters_per_request = 0;  ///< calls only, as the next ones
    double calls_per_request = 0;
    std::optional<double> allocations_per_request = {};
};

/// All slices of one server in a cell; slice i of each was run in the same round.
struct Series {
    std::string server;
    std::size_t processes = 0;
    std::vector<Slice> slices = {};
    load::Histogram latency = {};
    std::string failure = {};  ///< what went wrong; it was left out from then on

    /// Returns the share of its CPU time spent in user space, over all slices.
    [[nodiscard]] double user_share() const;
    /// Returns the median of the slices; nothing where allocations were not counted.
    [[nodiscard]] std::optional<double> allocations_per_request() const;
};

/// What came of a cell.
struct CellResult {
    CellSpec spec;
    std::vector<Series> series;

    /// Returns the figure of a server by name; nullptr when it was not measured.
    [[nodiscard]] const Series* find(const std::string& server) const;
    /// Returns the figure that the cell is about.
    [[nodiscard]] double figure(const Slice& slice) const;
};

/// Middle, smallest and largest of some figures.
struct Spread {
    double median = 0;
    double least = 0;
    double most = 0;
};
[[nodiscard]] Spread spread_of(std::vector<double> values);
[[nodiscard]] Spread spread_of(const std::vector<Slice>& slices,
                               const std::function<double(const Slice&)>& figure);

/// The figures of one server over those of another, slice by slice.
struct Ratio {
    Spread spread;
    std::size_t below = 0;  ///< pairs in which it is below 1
    std::size_t pairs = 0;
};
[[nodiscard]] Ratio ratio_of(const CellResult& cell, const Series& mine, const Series& other);

/// Returns the order in which a round loads `count` servers: in twice as many rounds each server
/// has each place twice, and follows each neighbour as often as it is followed by it.
[[nodiscard]] std::vector<std::size_t> order_of(std::size_t round, std::size_t count);

/// Estimates how long a cell takes for each of its servers.
[[nodiscard]] double seconds_of(const CellSpec& spec, const CellOptions& options);

/// Puts the load on all servers in turn, slice by slice. Each is started for its slice and ended
/// after it: where a process lies in memory makes a server up to a tenth dearer or cheaper for as
/// long as it lives, and in many starts that is even. A server that fails is left out from then on.
/// Throws std::runtime_error when it was interrupted.
[[nodiscard]] CellResult run_cell(const CellSpec& spec, const CellOptions& options,
                                  const std::vector<Launch>& servers);

}  // namespace bench
