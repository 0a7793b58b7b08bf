module;
#include <algorithm>
#include <compare>
#include <cstdint>
#include <functional>
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

std::vector<std::uint32_t> Roster::rows() const {
    std::vector<std::uint32_t> rows = taken_;
    for (const auto& worker : workers_) rows.push_back(worker->row);
    return rows;
}

std::optional<std::uint32_t> Roster::free_row(
    const std::function<bool(std::uint32_t)>& is_free) const {
    std::vector<bool> used(limits::max_counter_rows);
    for (const std::uint32_t row : rows()) used[row] = true;
    for (std::uint32_t i = 0; i < limits::max_counter_rows; ++i) {
        const std::uint32_t row = from_top_ ? limits::max_counter_rows - 1 - i : i;
        if (!used[row] && (!is_free || is_free(row))) return row;
    }
    return std::nullopt;
}

void Roster::share_rows(const std::vector<std::uint32_t>& taken, bool from_top) {
    taken_ = taken;
    from_top_ = from_top;
}

WorkerProcess& Roster::add(WorkerProcess worker) {
    return *workers_.emplace_back(std::make_unique<WorkerProcess>(std::move(worker)));
}

void Roster::remove(WorkerId id) noexcept {
    std::erase_if(workers_, [id](const auto& worker) { return worker->id == id; });
}

}  // namespace ringfort::master
