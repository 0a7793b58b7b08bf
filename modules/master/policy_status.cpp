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
    const auto consider = [&](const std::optional<Instant>& due) {
        if (due && (!next || *due < *next)) next = due;
    };
    consider(drain_at_);
    for (const Generation& generation : generations_) {
        if (generation.phase == Phase::current) consider(generation.orphans_due);
        for (const Worker& worker : generation.workers) {
            consider(worker.deadline);
            consider(worker.check);
        }
    }
    const auto room = full_until();
    if (reload_again_ && room > time_ && (!next || room < next)) next = room;
    return next;
}

/// Returns until when a further generation would cut the connections of one that has just begun to
/// drain: as many live as may, and the oldest that drains is left `kill_timeout` to end by itself.
std::optional<Instant> Policy::full_until() const {
    if (generations_.size() < limits::max_generations) return std::nullopt;
    for (const Generation& generation : generations_)
        for (const Worker& worker : generation.workers)
            if (generation.phase == Phase::leaving && worker.state == State::draining)
                return worker.since + generation.timing.kill_timeout;
    return std::nullopt;
}

std::optional<std::uint32_t> Policy::current_generation() const {
    const Generation* current = in_phase(Phase::current);
    return current == nullptr ? std::nullopt : std::optional{current->number};
}

std::vector<GenerationStatus> Policy::status(Instant time) const {
    std::vector<GenerationStatus> all;
    for (const Generation& generation : generations_)
        all.push_back({.number = generation.number,
                       .phase = generation.phase,
                       .workers = {generation.workers.begin(), generation.workers.end()},
                       .lent = generation.lent,
                       .orphans = generation.orphans,
                       .respawn_budget = budget_of(generation, time)});
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
    return building_ || in_phase(Phase::starting) != nullptr || upgrading() || taking_over_;
}

const Policy::Generation* Policy::in_phase(Phase phase) const {
    const auto found = std::ranges::find(generations_, phase, &Generation::phase);
    return found == generations_.end() ? nullptr : &*found;
}

}  // namespace ringfort::master
