#pragma once
// A short run of the load generator against the faulty server. Include after the imports.
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "faulty_server.hpp"

namespace bench {

inline constexpr std::uint32_t clients = 4;
inline constexpr std::size_t bulk_bytes = 16U << 10;  // of a request in bulk

inline load::Options small_load(const FaultyServer& server, load::Mode mode = load::Mode::echo) {
    load::Options options;
    options.target = *ringfort::Address::parse(fmt::format("127.0.0.1:{}", server.port()));
    options.mode = mode;
    options.connections = clients;
    options.warmup = std::chrono::milliseconds(20);
    options.duration = std::chrono::milliseconds(150);
    // Long enough for a busy machine, short enough for the faults that only time brings to light.
    options.timeout = std::chrono::milliseconds(1500);
    if (mode == load::Mode::bulk) options.payload_bytes = bulk_bytes;
    return options;
}

inline load::Report outcome_of(const load::Options& options) {
    auto report = load::run(options);
    REQUIRE(report.has_value());
    return *report;
}

inline load::Report load_on(Fault fault, load::Mode mode = load::Mode::echo) {
    const FaultyServer server(fault);
    return outcome_of(small_load(server, mode));
}

}  // namespace bench
