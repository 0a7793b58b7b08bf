module;
#include <ringfort/try.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

namespace ringfort::master {
namespace {

/// Counts what a worker holds beside its connections.
std::uint64_t descriptors_of_worker(const config::Settings& settings) {
    // Its ring, the channel to the master, the log, what it borrows; and the pipes of relays.
    constexpr std::uint64_t others = 64 + 2 * limits::relay_pipes;
    std::uint64_t count = others + settings.zones.size() + worker_count(settings);  // its siblings'
    for (const config::Listener& listener : settings.listeners)
        count += listener.protocol == config::Protocol::udp ? 2 : 1;  // received from by a copy
    return count;
}

}  // namespace

std::uint32_t id_of(cycle::Place place) noexcept {
    return static_cast<std::uint32_t>(place.binding * limits::max_workers + place.slot);
}

std::vector<cycle::Place> own_places(const cycle::Cycle& cycle, std::uint32_t slot) {
    std::vector<cycle::Place> places;
    for (std::size_t index = 0; index < cycle.bindings().size(); ++index) {
        const cycle::Binding& binding = cycle.bindings()[index];
        if (binding.has_own(slot) && binding.listeners[slot]->listening())
            places.push_back({index, slot});
    }
    return places;
}

Result<void> give(channel::Channel& worker, const cycle::Cycle& cycle, cycle::Place place) {
    const cycle::Binding& binding = cycle.bindings().at(place.binding);
    RF_LET(Fd socket, binding.listeners.at(place.slot)->socket().duplicate());
    return worker.send(channel::AddListener{.id = id_of(place),
                                            .service = binding.settings.service,
                                            .address = binding.first().bound()},
                       std::move(socket));
}

/// First the zones, then the sockets that all share and those of its slot, then the order. Those
/// that do not listen yet follow when its generation becomes current.
Result<void> equip(channel::Channel& worker, const cycle::Cycle& cycle, const channel::Start& start,
                   std::size_t& sent) {
    std::vector<cycle::Place> places = own_places(cycle, start.slot);
    for (std::size_t index = 0; index < cycle.bindings().size(); ++index)
        if (!cycle.bindings()[index].has_own(0)) places.push_back({index, 0});
    const std::size_t zones = cycle.zones().size();
    for (; sent <= zones + places.size() && worker.queued() == 0; ++sent) {
        if (sent < zones)
            RF_TRY(offer(*cycle.zones()[sent], through(worker)));
        else if (sent < zones + places.size())
            RF_TRY(give(worker, cycle, places[sent - zones]));
        else
            RF_TRY(worker.send(start));
    }
    return {};
}

void raise_descriptors(const config::Settings& settings) {
    const auto most = process::set_open_files(0);
    if (!most) return log::warning("{}", most.error().text());
    const std::uint64_t wanted = settings.master.open_files;
    if (wanted > *most)
        log::warning("master.open_files is {}, but no more than {} are allowed", wanted, *most);
    const std::uint64_t given = wanted == 0 ? *most : std::min(wanted, *most);
    if (given < settings.worker.connections + descriptors_of_worker(settings))
        log::warning(
            "worker.connections is {}, but a worker may open {} files: raise master.open_files or "
            "the hard limit, or lower worker.connections",
            settings.worker.connections, given);
}

}  // namespace ringfort::master
