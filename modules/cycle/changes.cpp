module;
#include <algorithm>
#include <compare>
#include <memory>
#include <optional>
#include <string>
#include <vector>
module ringfort.cycle;

import ringfort.base;
import ringfort.config;
import ringfort.shm;

namespace ringfort::cycle {
namespace {

const Binding* find(const std::vector<Binding>& bindings, const Binding& one) {
    const auto found = std::ranges::find_if(bindings, [&](const Binding& candidate) {
        return candidate.listeners.front() == one.listeners.front();
    });
    return found == bindings.end() ? nullptr : &*found;
}

std::string text(const Binding& binding) {
    return "listener " + binding.first().text() + " (" + binding.settings.service + ")";
}

/// What a listener that stays has of its own in the new cycle.
std::string differences(const Binding& old, const Binding& binding) {
    const config::Listener& before = old.settings;
    const config::Listener& after = binding.settings;
    std::string text;
    if (before.service != after.service) text += ", service was " + before.service;
    if (before.backlog != after.backlog)
        text +=
            ", backlog " + std::to_string(before.backlog) + " -> " + std::to_string(after.backlog);
    if (before.mode != after.mode) text += ", mode changes";
    if (before.owner != after.owner || before.group != after.group) text += ", owner changes";
    if (old.served != binding.served)
        text += ", sockets " + std::to_string(old.served) + " -> " + std::to_string(binding.served);
    return text;
}

void compare_zones(const Cycle& before, const Cycle& after, std::vector<std::string>& found) {
    const auto& fates = after.zone_fates();
    for (const ZoneFate& fate : fates) found.push_back("zone " + fate.name + ": " + fate.text);
    for (const SharedZone& zone : before.zones())
        if (std::ranges::find(fates, zone->name(), &ZoneFate::name) == fates.end())
            found.push_back("zone " + zone->name() + ": closed");
}

}  // namespace

std::vector<std::string> changes(const Cycle& before, const Cycle& after) {
    std::vector<std::string> found;
    for (const Binding& binding : after.bindings()) {
        const Binding* old = find(before.bindings(), binding);
        found.push_back(text(binding) +
                        (old == nullptr ? ": opened" : ": kept" + differences(*old, binding)));
    }
    for (const Binding& binding : before.bindings())
        if (find(after.bindings(), binding) == nullptr) found.push_back(text(binding) + ": closed");
    compare_zones(before, after, found);
    return found;
}

}  // namespace ringfort::cycle
