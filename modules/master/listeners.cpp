module;
#include <ringfort/try.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;

// Which worker has which sockets.
namespace ringfort::master {

/// Has the sockets of a generation that becomes current listen, and gives the new ones away.
void Master::give_new_listeners(std::uint32_t generation) {
    cycle::Cycle& cycle = *generations_.at(generation).cycle;
    for (const cycle::Place place : cycle.update_listeners()) {
        WorkerProcess* worker = roster_.find({generation, static_cast<std::uint32_t>(place.slot)});
        if (worker == nullptr) continue;
        if (const auto given = give(worker->channel, cycle, place); !given)
            log::error("worker slot {} does not get its socket of {}: {}", place.slot,
                       cycle.bindings()[place.binding].first().text(), given.error().text());
    }
}

void Master::carry_out(const action::Lend& action) {
    WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    const cycle::Cycle& cycle = *generations_.at(action.worker.generation).cycle;
    log::info("worker slot {} stands in for slot {}", worker->id.slot, action.slot);
    for (const cycle::Place place : own_places(cycle, action.slot))
        if (const auto given = give(worker->channel, cycle, place); !given)
            log::error("worker slot {} cannot stand in for slot {}: {}", worker->id.slot,
                       action.slot, given.error().text());
}

void Master::carry_out(const action::TakeBack& action) {
    WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    const cycle::Cycle& cycle = *generations_.at(action.worker.generation).cycle;
    log::debug("worker slot {} stands in for slot {} no more", worker->id.slot, action.slot);
    for (std::size_t index = 0; index < cycle.bindings().size(); ++index)
        if (cycle.bindings()[index].has_own(action.slot))
            send(*worker, channel::RemoveListener{id_of({index, action.slot})});
}

void Master::carry_out(const action::EndOrphans& action) {
    cycle::Cycle& cycle = *generations_.at(action.generation).cycle;
    if (!cycle.orphans_are_idle()) return raise(event::OrphansBusy{action.generation});
    const auto orphans = cycle.orphans();
    for (const auto& worker : roster_.workers())
        for (const cycle::Place place : orphans)
            if (worker->id.generation == action.generation)
                send(*worker, channel::RemoveListener{id_of(place)});
    cycle.end_orphans();
    log::info("sockets of workers that are no more: {} closed", orphans.size());
    raise(event::OrphansEnded{.generation = action.generation, .slots = cycle.slots()});
}

}  // namespace ringfort::master
