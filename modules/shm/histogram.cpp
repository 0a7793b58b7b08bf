module;
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
module ringfort.shm;

namespace ringfort::shm {

std::uint64_t Histogram::count() const noexcept {
    std::uint64_t all = 0;
    for (std::uint32_t column = 0; column < columns; ++column)
        all += counters_.sum(first_ + column);
    return all;
}

std::optional<std::uint64_t> Histogram::quantile(double part) const noexcept {
    // Read once: others go on counting.
    std::array<std::uint64_t, columns> counts{};
    std::uint64_t all = 0;
    for (std::uint32_t column = 0; column < columns; ++column)
        all += counts[column] = counters_.sum(first_ + column);
    if (all == 0) return std::nullopt;
    const double wanted = std::ceil(std::clamp(part, 0.0, 1.0) * static_cast<double>(all));
    std::uint64_t below = 0;
    std::uint32_t last = 0;
    for (std::uint32_t column = 0; column < columns; ++column) {
        if (counts[column] == 0) continue;
        below += counts[column];
        last = column;
        if (static_cast<double>(below) >= wanted) break;
    }
    return largest_in(last);
}

}  // namespace ringfort::shm
