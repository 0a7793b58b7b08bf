module;
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>
module ringfort.cycle;

import ringfort.base;

namespace ringfort::cycle {

void Stock::add(std::shared_ptr<Listener> listener, bool fresh) {
    const auto same = std::ranges::find_if(groups, [&](const Group& group) {
        return group.first().protocol() == listener->protocol() &&
               group.first().bound() == listener->bound();
    });
    if (same != groups.end())
        same->listeners.push_back(std::move(listener));
    else
        groups.push_back({.listeners = {std::move(listener)}, .fresh = fresh});
}

}  // namespace ringfort::cycle
