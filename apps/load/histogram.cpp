module;
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
module load;

namespace load {

std::size_t Histogram::index_of(std::uint64_t value) {
    const auto width = static_cast<unsigned>(std::bit_width(value));
    const unsigned shift = width > sub_bits + 1 ? width - (sub_bits + 1) : 0;
    return shift * sub_buckets + static_cast<std::size_t>(value >> shift);
}

std::uint64_t Histogram::last_value_in(std::size_t index) {
    // The first two rows hold exact values; each later row doubles the width of a bucket.
    const std::size_t shift = index < 2 * sub_buckets ? 0 : index / sub_buckets - 1;
    const std::uint64_t first = static_cast<std::uint64_t>(index - shift * sub_buckets) << shift;
    return first + (std::uint64_t{1} << shift) - 1;
}

void Histogram::record(std::uint64_t value_ns) {
    const std::uint64_t value = std::min(value_ns, highest);
    ++counts_[index_of(value)];
    ++count_;
    max_ = std::max(max_, value);
}

void Histogram::merge(const Histogram& other) {
    for (std::size_t i = 0; i < buckets; ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
}

std::uint64_t Histogram::quantile(double q) const {
    const double wanted = std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(count_));
    const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
        seen += counts_[i];
        if (seen >= rank) return std::min(last_value_in(i), max_);
    }
    return max_;
}

}  // namespace load
