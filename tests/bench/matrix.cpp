#include "matrix.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <iterator>

namespace bench {
namespace {

// More in flight than this is a test of the machine's memory, not of a server.
constexpr std::size_t most_in_flight = std::size_t{256} << 20;
constexpr std::size_t bulk_piece_bytes = std::size_t{64} << 10;
constexpr std::uint32_t idle_connections = 10'000;

CellSpec trips(Kind kind, std::uint32_t connections, std::size_t payload, std::uint32_t depth) {
    return {kind, Work::round_trips, connections, payload, depth};
}

/// Round trips with every number of connections, size and depth.
std::vector<CellSpec> all_trips(Kind kind) {
    std::vector<CellSpec> cells;
    for (const std::uint32_t depth : {1U, 16U})
        for (const std::size_t payload : {64U, 4096U, 65536U})
            for (const std::uint32_t connections : {1U, 50U, 1000U})
                if (connections * payload * depth <= most_in_flight)
                    cells.push_back(trips(kind, connections, payload, depth));
    return cells;
}

CellSpec bulk(Kind kind, std::uint32_t connections) {
    return {kind, Work::bulk, connections, bulk_piece_bytes, 1};
}

}  // namespace

std::string CellSpec::name() const {
    const std::string head = kind == Kind::echo ? "echo" : "relay";
    switch (work) {
        case Work::round_trips:
            return fmt::format("{}-c{}-p{}-d{}", head, connections, payload_bytes, depth);
        case Work::churn:
            return fmt::format("{}-churn-c{}", head, connections);
        case Work::bulk:
            return fmt::format("{}-bulk-c{}", head, connections);
        case Work::idle:
            return fmt::format("{}-idle-c{}", head, connections);
        case Work::calls:
            return fmt::format("{}-calls-c{}", head, connections);
    }
    return head;
}

std::string CellSpec::title() const {
    const std::string head = kind == Kind::echo ? "Echo" : "Relay";
    const std::string many =
        fmt::format("{} connection{}", connections, connections == 1 ? "" : "s");
    switch (work) {
        case Work::round_trips:
            return fmt::format("{}: {} x {} B, depth {}", head, many, payload_bytes, depth);
        case Work::churn:
            return fmt::format("{}: connect, one request of {} B, close; {} at a time", head,
                               payload_bytes, connections);
        case Work::bulk:
            return fmt::format("{}: bulk through {}", head, many);
        case Work::idle:
            return fmt::format("{}: memory of {} after one request each", head, many);
        case Work::calls:
            return fmt::format("{}: system calls at {} x {} B", head, many, payload_bytes);
    }
    return head;
}

std::string CellSpec::unit() const {
    switch (work) {
        case Work::round_trips:
            return "CPU us/request";
        case Work::churn:
            return "CPU us/connection";
        case Work::bulk:
            return "CPU s/GiB";
        case Work::idle:
            return "resident B/connection";
        case Work::calls:
            return "enters/request";
    }
    return {};
}

std::vector<CellSpec> calls_cells() {
    return {{Kind::echo, Work::calls, 64, 64, 1}, {Kind::echo, Work::calls, 1000, 64, 1}};
}

std::vector<CellSpec> all_cells() {
    std::vector<CellSpec> cells = all_trips(Kind::echo);
    cells.push_back({Kind::echo, Work::churn, 50, 64, 1});
    cells.push_back(bulk(Kind::echo, 1));
    cells.push_back(bulk(Kind::echo, 10));
    cells.push_back({Kind::echo, Work::idle, idle_connections, 64, 1});
    std::ranges::copy(calls_cells(), std::back_inserter(cells));
    std::ranges::copy(all_trips(Kind::relay), std::back_inserter(cells));
    cells.push_back({Kind::relay, Work::churn, 50, 64, 1});
    cells.push_back(bulk(Kind::relay, 1));
    cells.push_back(bulk(Kind::relay, 10));
    cells.push_back({Kind::relay, Work::idle, idle_connections / 2, 64, 1});
    return cells;
}

std::vector<CellSpec> quick_cells() {
    return {trips(Kind::echo, 1, 64, 1),    trips(Kind::echo, 50, 64, 1),
            trips(Kind::echo, 1000, 64, 1), trips(Kind::echo, 50, 4096, 1),
            bulk(Kind::echo, 10),           trips(Kind::relay, 50, 64, 1),
            bulk(Kind::relay, 10)};
}

std::vector<CellSpec> bar_cells() {
    std::vector<CellSpec> cells;
    for (CellSpec& cell : all_trips(Kind::echo))
        if (cell.payload_bytes > 64 || cell.depth == 1) cells.push_back(cell);
    cells.push_back({Kind::echo, Work::churn, 50, 64, 1});
    cells.push_back({Kind::echo, Work::idle, idle_connections, 64, 1});
    std::ranges::copy(calls_cells(), std::back_inserter(cells));
    cells.push_back(trips(Kind::relay, 1, 64, 1));
    cells.push_back(trips(Kind::relay, 50, 64, 1));
    cells.push_back(bulk(Kind::relay, 1));
    cells.push_back(bulk(Kind::relay, 10));
    return cells;
}

bool selected(const std::vector<std::string>& patterns, const std::string& name) {
    return patterns.empty() ||
           std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
               return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
           });
}

}  // namespace bench
