module;
#include <algorithm>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;

namespace ringfort::master {

WorkerProcess* Roster::find(WorkerId id) const noexcept {
    for (const auto& worker : workers_)
        if (worker->id == id) return worker.get();
    return nullptr;
}

std::optional<std::uint32_t> Roster::free_row() const {
    std::vector<bool> used(limits::max_counter_rows);
    for (const auto& worker : workers_) used[worker->row] = true;
    const auto free = std::ranges::find(used, false);
    if (free == used.end()) return std::nullopt;
    return static_cast<std::uint32_t>(free - used.begin());
}

WorkerProcess& Roster::add(WorkerProcess worker) {
    return *workers_.emplace_back(std::make_unique<WorkerProcess>(std::move(worker)));
}

void Roster::remove(WorkerId id) noexcept {
    std::erase_if(workers_, [id](const auto& worker) { return worker->id == id; });
}

}  // namespace ringfort::master
