// Part of the module, to see what it keeps to itself: which zones a configuration needs, and what
// is read in them.
module;
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>
module ringfort;

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.master;
import ringfort.shm;
import ringfort.worker;

using namespace ringfort;
using worker::Counter;

namespace {

config::Settings listening(const std::string& service) {
    config::Settings settings;
    config::Listener& listener = settings.listeners.emplace_back();
    listener.address = Address::parse("127.0.0.1:0").value();
    listener.service = service;
    return settings;
}

std::vector<ZoneUse> uses_of_own(const config::Settings&) {
    return {{.zone = "own",
             .purpose = "own/1",
             .size = Bytes{131'072},
             .reuse = false,
             .prepare = [](const shm::Pool&, const shm::Pool*) -> Result<void> {
                 return Error{"a test", std::errc::not_supported};
             }},
            {.zone = "shared", .purpose = "shared/1"}};
}

/// A cycle with a zone before that of the counters.
std::unique_ptr<cycle::Cycle> build() {
    auto requests = zone_requests(listening("echo"), {});
    requests.insert(requests.begin(), {.name = "limits", .tag = "pool", .size = Bytes{65'536}});
    auto built = cycle::Cycle::build(listening("echo"), 1, {}, requests);
    REQUIRE(built.cycle);
    return std::move(built.cycle);
}

worker::Counters counters_of(const cycle::Cycle& cycle) {
    return worker::Counters::attach(*cycle.zones().back()).value();
}

}  // namespace

TEST_CASE("a cycle needs the counters, and what those services say that have a listener") {
    const ZoneUses uses{{"files", uses_of_own}};
    const auto without = zone_requests(listening("echo"), uses);
    REQUIRE(without.size() == 1);
    CHECK(without[0].name == worker::counters_zone);
    CHECK(without[0].content == cycle::Content::custom);
    const auto with = zone_requests(listening("files"), uses);
    REQUIRE(with.size() == 3);
    CHECK(with[1].name == "own");
    CHECK(with[1].tag == "own/1");
    CHECK(with[1].size == Bytes{131'072});
    CHECK_FALSE(with[1].reuse);
    CHECK(with[1].content == cycle::Content::pool);
    CHECK(cycle::make_zone(with[1]).error().is(std::errc::not_supported));  // it is prepared
    CHECK(with[2].size == Bytes{0});
    CHECK(with[2].reuse);
}

TEST_CASE("what a worker writes down of itself is observed, whatever else is in the zone") {
    const auto cycle = build();
    const worker::Counters counters = counters_of(*cycle);
    CHECK(counters.slots() == limits::max_counter_rows);
    const Instant pulse = now() - Milliseconds{100};
    counters.set(7, Counter::accepted, 1);
    counters.set(7, Counter::active, 2);
    counters.set(7, Counter::failed, 3);
    counters.set(7, Counter::datagrams, 4);
    counters.set(7, Counter::pulse, worker::pulse_at(pulse));
    const master::Observation seen = observe(*cycle, 7);
    CHECK(seen.accepted == 1);
    CHECK(seen.active == 2);
    CHECK(seen.failed == 3);
    CHECK(seen.datagrams == 4);
    CHECK(seen.pulse == pulse);
    // What no clock has said yet keeps no worker from being found stuck.
    counters.set(7, Counter::pulse, worker::pulse_at(now() + Milliseconds{1'000'000}));
    CHECK(observe(*cycle, 7).pulse <= now());
    counters.set(7, Counter::pulse, ~std::uint64_t{0});
    CHECK(observe(*cycle, 7).pulse >= Instant{});
}

TEST_CASE("of a table of counters that cannot be read nobody's end is inferred") {
    const auto cycle = build();
    cycle->zones().back()->payload()[0] ^= std::byte{1};
    const Instant before = now();
    CHECK(observe(*cycle, 7).pulse >= before);
}
