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

/// Tells whether a zone of the configuration goes on with what is in the one before it.
bool is_reused(const Cycle& cycle, const shm::Zone& zone) {
    const auto& configured = cycle.settings().zones;
    const auto found = std::ranges::find(configured, zone.name(), &config::Zone::name);
    return found != configured.end() && !found->noreuse;
}

void compare_zones(const Cycle& before, const Cycle& after, std::vector<std::string>& found) {
    const auto called = [](const std::vector<SharedZone>& zones, const std::string& name) {
        const auto zone = std::ranges::find_if(
            zones, [&](const SharedZone& candidate) { return candidate->name() == name; });
        return zone == zones.end() ? nullptr : *zone;
    };
    for (const SharedZone& zone : after.zones()) {
        const SharedZone old = called(before.zones(), zone->name());
        const bool grown = old && old->tag() == zone->tag() && old->size() < zone->size() &&
                           is_reused(after, *zone) && !shm::Pool::unusable(*old);
        const std::string what =
            old == zone      ? ": kept"
            : old == nullptr ? ": opened, empty"
            : grown          ? ": grown, " + old->size().text() + " -> " + zone->size().text()
                             : ": replaced by an empty one";
        found.push_back("zone " + zone->name() + what);
    }
    for (const SharedZone& zone : before.zones())
        if (called(after.zones(), zone->name()) == nullptr)
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
