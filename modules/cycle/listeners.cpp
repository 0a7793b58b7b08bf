module;
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>
module ringfort.cycle;

import ringfort.base;
import ringfort.config;

// What becomes of listeners while a cycle serves.
namespace ringfort::cycle {
namespace {

/// Directs new connections to the sockets that have a worker.
void direct(Binding& binding) {
    const bool orphans = binding.listeners.size() > binding.served;
    const auto count = orphans ? static_cast<std::uint32_t>(binding.served) : 0;
    const auto directed = binding.first().direct_to_first(count);
    binding.directed = directed || !orphans;
    if (!directed)
        log::warning("{}: {}. {}", binding.first().text(), directed.error().text(),
                     orphans ? "The sockets of the workers that are no more stay open."
                             : "Connections go to fewer sockets than there are.");
}

/// Has the sockets listen that do not; returns their slots. One that cannot is dropped with those
/// after it: the kernel's order is to stay that of the slots.
std::vector<std::size_t> begin(Binding& binding) {
    std::vector<std::size_t> begun;
    for (std::size_t slot = 0; slot < binding.listeners.size(); ++slot) {
        Listener& listener = *binding.listeners[slot];
        if (listener.listening()) continue;
        if (const auto listens = listener.begin(binding.settings); !listens) {
            log::error("{}: {}. Only {} workers get connections from it.", listener.text(),
                       listens.error().text(), slot);
            binding.listeners.resize(slot);
            break;
        }
        begun.push_back(slot);
    }
    return begun;
}

}  // namespace

std::vector<Place> Cycle::update_listeners() {
    std::vector<Place> begun;
    for (std::size_t index = 0; index < bindings_.size(); ++index) {
        Binding& binding = bindings_[index];
        if (!binding.carried_over) continue;
        const std::size_t kept = std::min(binding.served, binding.listeners.size());
        for (std::size_t slot = 0; slot < kept; ++slot)
            if (binding.listeners[slot]->listening())
                binding.listeners[slot]->update(binding.settings, binding.owner);
        for (const std::size_t slot : begin(binding)) begun.push_back({index, slot});
        if (binding.listeners.size() > 1) direct(binding);
    }
    return begun;
}

std::uint32_t Cycle::slots() const noexcept {
    std::size_t most = 0;
    for (const Binding& binding : bindings_)
        if (binding.settings.reuseport || binding.listeners.size() > 1)
            most = std::max(most, binding.listeners.size());
    return static_cast<std::uint32_t>(most);
}

std::vector<Place> Cycle::orphans() const {
    std::vector<Place> found;
    for (std::size_t index = 0; index < bindings_.size(); ++index)
        for (std::size_t slot = bindings_[index].served; slot < bindings_[index].listeners.size();
             ++slot)
            found.push_back({index, slot});
    return found;
}

bool Cycle::orphans_are_idle() const noexcept {
    return std::ranges::all_of(bindings_, [](const Binding& binding) {
        if (binding.listeners.size() <= binding.served) return true;
        const auto first = binding.listeners.begin() + static_cast<std::ptrdiff_t>(binding.served);
        return binding.directed &&
               std::none_of(first, binding.listeners.end(),
                            [](const auto& orphan) { return orphan->has_waiting(); });
    });
}

void Cycle::end_orphans() {
    for (Binding& binding : bindings_) {
        if (binding.listeners.size() <= binding.served) continue;
        // What the kernel moves to the place of one that leaves is the last, an orphan as well.
        while (binding.listeners.size() > binding.served) {
            binding.listeners.back()->end();
            binding.listeners.pop_back();
        }
        direct(binding);
    }
}

}  // namespace ringfort::cycle
