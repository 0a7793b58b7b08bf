module;
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <random>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;

// The part of the policy that is about when a worker that has ended is started again.
namespace ringfort::master {

/// Starts the slot again after a delay that doubles with every failure in a row. The first one
/// after a healthy life costs the shortest delay, and nothing else. Every further one that does not
/// wait as long as may be anyway is paid for from the generation's budget, and waits as long when
/// nothing of that is left: many slots with the same fault are not respawned many times each before
/// all of them wait long, and one that fails for ever does not live at the others' expense.
void Policy::postpone(Generation& generation, std::uint32_t slot) {
    Worker& worker = generation.workers[slot];
    const Timing& timing = generation.timing;
    Milliseconds delay = timing.backoff_min;
    for (std::uint32_t i = 0; i < worker.failures && delay < timing.backoff_max; ++i) delay *= 2;
    const bool costs = worker.failures > 0 && delay < timing.backoff_max;
    const bool spent = costs && budget_of(generation, time_) == 0;
    if (spent)
        delay = timing.backoff_max;
    else if (costs)
        generation.budget_whole = std::max(generation.budget_whole, time_) + timing.backoff_max;
    delay = spread(std::min(delay, timing.backoff_max), timing);
    ++worker.failures;
    worker.state = State::backing_off;
    worker.since = time_;
    worker.deadline = time_ + delay;
    actions_.push_back(action::Postpone{{generation.number, slot}, delay, worker.failures, spent});
}

/// Returns a delay between half of that and all of it, so that workers that have failed together do
/// not do so again; none is below the shortest. Source: "equal jitter" of Exponential Backoff And
/// Jitter, AWS Architecture Blog, 2015.
Milliseconds Policy::spread(Milliseconds delay, const Timing& timing) {
    const Milliseconds least = std::max(std::min(timing.backoff_min, delay), delay / 2);
    std::uniform_int_distribution<std::int64_t> between{least.count(), delay.count()};
    return Milliseconds{between(random_)};
}

/// Returns how many more respawns its budget pays for. One comes back in each of the longest
/// delays. It is kept as the time at which all will have come back. Source: the generic cell rate
/// algorithm, ITU-T I.371.
std::uint32_t Policy::budget_of(const Generation& generation, Instant time) {
    const Timing& timing = generation.timing;
    if (generation.budget_whole <= time) return timing.respawn_budget;
    const auto owed = generation.budget_whole - time + timing.backoff_max - Instant::duration{1};
    const auto spent = owed / Instant::duration{timing.backoff_max};
    return spent >= timing.respawn_budget
               ? 0
               : timing.respawn_budget - static_cast<std::uint32_t>(spent);
}

}  // namespace ringfort::master
