module;
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>
module ringfort;

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.master;
import ringfort.shm;
import ringfort.worker;

namespace ringfort {
namespace {

cycle::ZoneRequest counters_request() {
    return {.name = std::string{worker::counters_zone},
            .tag = std::string{worker::counters_tag},
            .size = worker::Counters::zone_size(limits::max_counter_rows),
            .content = cycle::Content::custom,
            .format = [](shm::Zone& zone) -> Result<void> {
                const auto formatted = worker::Counters::format(zone, limits::max_counter_rows);
                if (!formatted) return formatted.error();
                return {};
            },
            .sound =
                [](shm::Zone& zone) {
                    const auto counters = worker::Counters::attach(zone);
                    return counters && counters->slots() == limits::max_counter_rows;
                }};
}

}  // namespace

std::vector<cycle::ZoneRequest> zone_requests(const config::Settings& settings,
                                              const ZoneUses& uses) {
    std::vector<cycle::ZoneRequest> requests{counters_request()};
    for (const auto& [service, zones] : uses) {
        if (std::ranges::find(settings.listeners, service, &config::Listener::service) ==
            settings.listeners.end())
            continue;
        for (ZoneUse& use : zones(settings))
            requests.push_back({.name = std::move(use.zone),
                                .tag = std::move(use.purpose),
                                .size = use.size,
                                .reuse = use.reuse,
                                .prepare = std::move(use.prepare)});
    }
    return requests;
}

int show_zone(const std::string& program, const std::string& path) {
    auto zone = shm::Zone::copy_of(path);
    if (!zone) {
        fmt::print(stderr, "{}: no zone is in {}: {}\n", program, path, zone.error().text());
        return 1;
    }
    const auto pool = shm::Pool::keep(*zone);
    fmt::print("{}", master::describe(*zone, pool ? &*pool : nullptr));
    return 0;
}

master::Observation observe(const cycle::Cycle& cycle, std::uint32_t row) {
    for (const cycle::SharedZone& zone : cycle.zones()) {
        if (zone->name() != worker::counters_zone) continue;
        const auto counters = worker::Counters::attach(*zone);
        if (!counters) continue;
        // A worker may have written anything there.
        const Instant pulse = worker::moment_of(counters->get(row, worker::Counter::pulse));
        return {.pulse = std::clamp(pulse, Instant{}, now()),
                .accepted = counters->get(row, worker::Counter::accepted),
                .active = counters->get(row, worker::Counter::active),
                .failed = counters->get(row, worker::Counter::failed),
                .datagrams = counters->get(row, worker::Counter::datagrams)};
    }
    return {.pulse = now()};  // of a table that cannot be read nobody's end is inferred
}

}  // namespace ringfort
