#pragma once
// One cell of the comparison: one load on two servers in turn, and what comes of it.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "contestant.hpp"
#include "histogram.hpp"
#include "surroundings.hpp"

namespace bench {

/// The load of a cell and how long it is put on.
struct CellOptions {
    std::uint32_t connections = 1;
    std::size_t payload_bytes = 64;
    std::uint32_t depth = 1;
    std::uint32_t pairs = 10;
    std::chrono::milliseconds slice{2000};
    Cores cores;  ///< where server and load run, to see who else does
    std::function<bool()> interrupted;
};

/// What one server did in one slice.
struct Slice {
    double seconds = 0;
    std::uint64_t requests = 0;
    CpuTime cpu;          ///< used inside the slice
    double others_s = 0;  ///< of the two cores' time, used by neither the server nor the load
    [[nodiscard]] double krps() const { return static_cast<double>(requests) / seconds / 1e3; }
    [[nodiscard]] double cpu_us_per_request() const {
        return static_cast<double>(cpu.total_ns) / 1e3 / static_cast<double>(requests);
    }
};

/// All slices of one server in a cell.
struct Series {
    std::string server;
    std::size_t processes = 0;
    std::vector<Slice> slices;
    Histogram latency;
};

/// The two series; slice i of the one was run right before slice i of the other.
struct Cell {
    Series ours;
    Series yardstick;
};

/// Puts the load on both servers in turn: a slice each that is thrown away, then the pairs. Throws
/// std::runtime_error when a byte was lost or wrong, a process was replaced, or it was interrupted.
[[nodiscard]] Cell run_cell(const CellOptions& options, const Contestant& ours,
                            const Contestant& yardstick);

/// Lays the cell out as a table and the sentence about the ratio, ready for a document.
[[nodiscard]] std::string to_table(const CellOptions& options, const Cell& cell);

}  // namespace bench
