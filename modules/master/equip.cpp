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
namespace {

Result<void> give(channel::Channel& worker, const shm::Zone& zone) {
    RF_LET(Fd memfd, duplicate(zone.fd()));
    return worker.send(
        channel::AddZone{.name = zone.name(), .tag = zone.tag(), .size = zone.size()},
        std::move(memfd));
}

Result<void> give(channel::Channel& worker, const cycle::Binding& binding, std::size_t number) {
    RF_LET(Fd socket, binding.listener->socket().duplicate());
    return worker.send(channel::AddListener{.id = static_cast<std::uint32_t>(number),
                                            .service = binding.settings.service,
                                            .address = binding.listener->bound()},
                       std::move(socket));
}

}  // namespace

Result<void> equip(channel::Channel& worker, const cycle::Cycle& cycle, const channel::Start& start,
                   std::size_t& sent) {
    const std::size_t zones = cycle.zones().size();
    const std::size_t listeners = cycle.bindings().size();
    for (; sent <= zones + listeners && worker.queued() == 0; ++sent) {
        if (sent < zones)
            RF_TRY(give(worker, *cycle.zones()[sent]));
        else if (sent < zones + listeners)
            RF_TRY(give(worker, cycle.bindings()[sent - zones], sent - zones));
        else
            RF_TRY(worker.send(start));
    }
    return {};
}

}  // namespace ringfort::master
