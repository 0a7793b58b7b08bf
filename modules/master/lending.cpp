module;
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;

// The part of the policy that is about sockets of slots: who serves those of a worker that does
// not, and when those of workers that are no more are closed.
namespace ringfort::master {

void Policy::on(const event::OrphansEnded& event) {
    Generation* generation = find(event.generation);
    if (generation == nullptr) return;
    generation->orphans = false;
    if (event.slots < generation->lent.size()) generation->lent.resize(event.slots);
}

void Policy::on(const event::OrphansBusy& event) {
    Generation* generation = find(event.generation);
    if (generation == nullptr || generation->phase != Phase::current) return;
    generation->orphans_due = time_ + generation->timing.orphan_check;
}

void Policy::check_orphans(Generation& generation) {
    if (!generation.orphans_due || *generation.orphans_due > time_) return;
    if (busy()) {  // a generation that starts, or another master, may be about to serve them
        generation.orphans_due = time_ + generation.timing.orphan_check;
        return;
    }
    generation.orphans_due.reset();
    actions_.push_back(action::EndOrphans{generation.number});
}

/// Returns how long a worker may be silent before others stand in for it.
Milliseconds Policy::patience(const Generation& generation) {
    const Milliseconds watchdog = generation.timing.watchdog;
    return generation.lent.empty() ? watchdog : watchdog / 2;
}

/// Lends the sockets of every slot whose worker does not serve to one that does, and takes them
/// back when it does again. What a worker has that has gone, or is to go, is lent anew.
void Policy::dispatch(Generation& generation) {
    for (std::uint32_t slot = 0; slot < generation.lent.size(); ++slot) {
        std::optional<std::uint32_t>& borrower = generation.lent[slot];
        if (borrower && generation.workers[*borrower].state != State::ready) borrower.reset();
        const bool at_home = generation.serves(slot);
        if (at_home ? !borrower : borrower && generation.serves(*borrower)) continue;
        const auto next = at_home ? std::nullopt : least_burdened(generation);
        if (!at_home && !next) continue;  // nobody serves: whoever has them keeps them
        if (borrower) actions_.push_back(action::TakeBack{slot, {generation.number, *borrower}});
        if (next) actions_.push_back(action::Lend{slot, {generation.number, *next}});
        borrower = next;
    }
}

/// Finds the worker that serves and has borrowed least; nothing when none serves.
std::optional<std::uint32_t> Policy::least_burdened(const Generation& generation) {
    std::optional<std::uint32_t> best;
    std::ptrdiff_t least = 0;
    for (std::uint32_t slot = 0; slot < generation.workers.size(); ++slot) {
        if (!generation.serves(slot)) continue;
        const auto burden = std::ranges::count(generation.lent, std::optional{slot});
        if (best && burden >= least) continue;
        best = slot;
        least = burden;
    }
    return best;
}

}  // namespace ringfort::master
