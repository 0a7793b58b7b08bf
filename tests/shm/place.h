/// A pool in a zone of its own, as tests of what is in pools need one. Include it after the
/// imports.
#pragma once
#include <cstdint>
#include <utility>

namespace testing {

struct Place {
    ringfort::shm::Zone zone;
    ringfort::shm::Pool pool;
};

/// Lays out a pool with room for so many bytes, and so many rows of owners.
inline Place place(std::uint64_t bytes = 1 << 18, std::uint32_t rows = 2) {
    using ringfort::shm::Pool;
    auto zone = ringfort::shm::Zone::create("place", "pool/1",
                                            Pool::zone_size(rows, ringfort::Bytes{bytes}))
                    .value();
    const Pool pool = Pool::format(zone, rows).value();
    return {std::move(zone), pool};
}

}  // namespace testing
