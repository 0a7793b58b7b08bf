// What the service manager has passed at the start, and what it keeps for the next one.
module;
#include <algorithm>
#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.cycle;
import ringfort.process;

namespace ringfort::master {

/// Takes what the service manager has passed, beside what was inherited.
void Master::accept_passed() {
    auto passed = cycle::accept_passed(process::take_passed_fds(), inheritance_.stock);
    if (manager_.keeps_descriptors()) kept_ = std::move(passed.kept);
    if (passed.stock.groups.empty() && passed.stock.zones.empty()) return;
    log::info("the service manager has passed {} addresses, {} zones", passed.stock.groups.size(),
              passed.stock.zones.size());
    for (cycle::Group& group : passed.stock.groups)
        for (auto& listener : group.listeners) {
            passed_.push_back(listener);
            inheritance_.stock.add(std::move(listener), false);
        }
    std::ranges::move(passed.stock.zones, std::back_inserter(inheritance_.stock.zones));
}

/// Ends the part of what was passed: a generation serves.
void Master::use_passed(const cycle::Cycle& cycle) {
    for (const auto& listener : std::exchange(passed_, {})) {
        listener->own();
        const bool used = std::ranges::any_of(cycle.bindings(), [&](const cycle::Binding& binding) {
            return std::ranges::find(binding.listeners, listener) != binding.listeners.end();
        });
        if (!used)
            log::warning("the service manager has passed {}, where no listener is configured",
                         listener->text());
    }
}

/// Has the service manager keep what the generation serves with, and nothing else.
void Master::keep_descriptors(const cycle::Cycle& cycle) {
    if (!manager_.keeps_descriptors()) return;
    const auto fds = cycle::to_be_kept(cycle);
    cycle::Kept wanted = cycle::identify(fds);
    for (const auto& [name, files] : kept_) {
        const auto found = wanted.find(name);
        if (found == wanted.end() || found->second != files) manager_.forget(name);
    }
    for (const auto& [name, files] : wanted) {
        const auto found = kept_.find(name);
        if (found == kept_.end() || found->second != files) manager_.keep(name, fds.at(name));
    }
    kept_ = std::move(wanted);
}

/// Leaves the files of unix sockets to the next master, which gets the sockets.
void Master::leave_files() {
    const auto serves = generations_.find(served_generation_);
    if (kept_.empty() || serves == generations_.end()) return;
    for (const cycle::Binding& binding : serves->second.cycle->bindings())
        for (const auto& listener : binding.listeners) listener->disown();
}

}  // namespace ringfort::master
