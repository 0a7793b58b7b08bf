#include "pattern.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

namespace e2e {

/// The output function of splitmix64 over a counter.
std::uint64_t Pattern::word(std::uint64_t index) const noexcept {
    std::uint64_t z = (seed_ + 1) * 0xd1342543de82ef95ULL + index * 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void Pattern::fill(std::uint64_t offset, std::span<char> out) const noexcept {
    constexpr std::size_t size = sizeof(std::uint64_t);
    while (!out.empty()) {
        const std::uint64_t value = word(offset / size);
        const std::size_t skip = offset % size;
        const std::size_t count = std::min(size - skip, out.size());
        char bytes[size];
        std::memcpy(bytes, &value, size);
        std::memcpy(out.data(), bytes + skip, count);
        out = out.subspan(count);
        offset += count;
    }
}

std::optional<std::size_t> Pattern::first_difference(std::uint64_t offset,
                                                     std::span<const char> data) const noexcept {
    char expected[4096];
    for (std::size_t done = 0; done < data.size();) {
        const std::size_t count = std::min(sizeof expected, data.size() - done);
        fill(offset + done, {expected, count});
        if (std::memcmp(expected, data.data() + done, count) != 0) {
            const auto [wanted, got] =
                std::mismatch(expected, expected + count, data.data() + done);
            return done + static_cast<std::size_t>(wanted - expected);
        }
        done += count;
    }
    return std::nullopt;
}

std::string Pattern::bytes(std::size_t size) const {
    std::string result(size, '\0');
    fill(0, result);
    return result;
}

}  // namespace e2e
