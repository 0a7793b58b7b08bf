#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "deadline.h"
#include "endpoint.h"

namespace e2e {

struct SwarmOptions {
    std::size_t connections = 1'000;
    std::size_t bytes_each = 16 * 1024;
    std::uint64_t seed = 1;
};

struct SwarmReport {
    std::size_t completed = 0;            ///< every byte came back, then the end of the stream
    std::size_t served_at_once = 0;       ///< had their first bytes back before any went on
    std::map<std::string, int> failures;  ///< reason -> how many
    [[nodiscard]] std::string text() const;
};

/// Opens all connections, each with a pattern of its own, to a service that echoes. All wait until
/// each has its first bytes back, so that all are served at the same time; then each sends the rest
/// and closes its half, and every byte that returns is compared. One thread, epoll.
[[nodiscard]] SwarmReport run_swarm(const Endpoint& endpoint, SwarmOptions options,
                                    Deadline deadline = later());

}  // namespace e2e
