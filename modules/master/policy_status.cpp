// What a policy tells of itself.
module;
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <vector>
module ringfort.master;

import ringfort.base;

namespace ringfort::master {

std::optional<Instant> Policy::next_deadline() const {
    std::optional<Instant> next = upgrade_deadline_;
    for (const Generation& generation : generations_)
        for (const Worker& worker : generation.workers)
            for (const auto& due : {worker.deadline, worker.check})
                if (due && (!next || *due < *next)) next = due;
    return next;
}

std::optional<std::uint32_t> Policy::current_generation() const {
    const Generation* current = in_phase(Phase::current);
    return current == nullptr ? std::nullopt : std::optional{current->number};
}

std::vector<GenerationStatus> Policy::status() const {
    std::vector<GenerationStatus> all;
    for (const Generation& generation : generations_)
        all.push_back({.number = generation.number,
                       .phase = generation.phase,
                       .workers = {generation.workers.begin(), generation.workers.end()}});
    return all;
}

std::uint32_t Policy::serving() const {
    std::uint32_t count = 0;
    for (const Generation& generation : generations_)
        for (const Worker& worker : generation.workers)
            count += worker.state == State::ready ? 1 : 0;
    return count;
}

bool Policy::busy() const noexcept {
    return building_ || in_phase(Phase::starting) != nullptr || upgrade_ == Upgrade::starting ||
           upgrade_ == Upgrade::ending;
}

const Policy::Generation* Policy::in_phase(Phase phase) const {
    const auto found = std::ranges::find(generations_, phase, &Generation::phase);
    return found == generations_.end() ? nullptr : &*found;
}

}  // namespace ringfort::master
