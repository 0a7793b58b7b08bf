module;
#include <ringfort/try.h>

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
import ringfort.shm;

namespace ringfort::master {

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

}  // namespace ringfort::master
