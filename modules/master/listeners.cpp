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
namespace {

/// Names a socket in messages.
std::uint32_t id_of(cycle::Place place) {
    return static_cast<std::uint32_t>(place.binding * limits::max_workers + place.slot);
}

Result<void> give(WorkerProcess& worker, const cycle::Cycle& cycle, cycle::Place place) {
    const cycle::Binding& binding = cycle.bindings().at(place.binding);
    RF_LET(Fd socket, binding.listeners.at(place.slot)->socket().duplicate());
    return worker.channel.send(channel::AddListener{.id = id_of(place),
                                                    .service = binding.settings.service,
                                                    .address = binding.first().bound()},
                               std::move(socket));
}

/// Gives a worker the sockets that a slot has for itself.
Result<void> give_own(WorkerProcess& worker, const cycle::Cycle& cycle, std::uint32_t slot) {
    for (std::size_t index = 0; index < cycle.bindings().size(); ++index) {
        const cycle::Binding& binding = cycle.bindings()[index];
        if (binding.has_own(slot) && binding.listeners[slot]->listening())
            RF_TRY(give(worker, cycle, {index, slot}));
    }
    return {};
}

}  // namespace

/// Gives a new worker the sockets that all share, and its own. Those that do not listen yet follow
/// when its generation becomes current.
Result<void> Master::give_listeners(WorkerProcess& worker, const cycle::Cycle& cycle) {
    for (std::size_t index = 0; index < cycle.bindings().size(); ++index)
        if (!cycle.bindings()[index].has_own(0)) RF_TRY(give(worker, cycle, {index, 0}));
    return give_own(worker, cycle, worker.id.slot);
}

/// Has the sockets of a generation that becomes current listen, and gives the new ones away.
void Master::give_new_listeners(std::uint32_t generation) {
    cycle::Cycle& cycle = *generations_.at(generation).cycle;
    for (const cycle::Place place : cycle.update_listeners()) {
        WorkerProcess* worker = roster_.find({generation, static_cast<std::uint32_t>(place.slot)});
        if (worker == nullptr) continue;
        if (const auto given = give(*worker, cycle, place); !given)
            log::error("worker slot {} does not get its socket of {}: {}", place.slot,
                       cycle.bindings()[place.binding].first().bound().text(),
                       given.error().text());
    }
}

void Master::carry_out(const action::Lend& action) {
    WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    const cycle::Cycle& cycle = *generations_.at(action.worker.generation).cycle;
    log::info("worker slot {} stands in for slot {}", worker->id.slot, action.slot);
    if (const auto given = give_own(*worker, cycle, action.slot); !given)
        log::error("worker slot {} cannot stand in for slot {}: {}", worker->id.slot, action.slot,
                   given.error().text());
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
