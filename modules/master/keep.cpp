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
    passed_ = passed.listeners();
    for (const auto& listener : passed_) inheritance_.stock.add(listener, false);
    std::ranges::move(passed.stock.zones, std::back_inserter(inheritance_.stock.zones));
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
