#pragma once
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "endpoint.h"

namespace e2e {

/// What /proc/net says of sockets. A socket is known by its inode, so that one that another
/// program opens on the same port later is not taken for it.

/// Returns the inodes of the sockets that listen at this endpoint: at its address and port, or at
/// every address and its port.
[[nodiscard]] std::set<std::uint64_t> listeners_at(const Endpoint& endpoint);
/// Returns those of UDP that are bound to it, in the same sense.
[[nodiscard]] std::set<std::uint64_t> datagram_sockets_at(const Endpoint& endpoint);
/// Returns which of the processes holds the server's end of this TCP client socket; empty when none
/// does (it may be a direct descriptor of a ring, which no table shows).
[[nodiscard]] std::optional<pid_t> holder_of_peer(int client_fd, const std::vector<pid_t>& pids);

}  // namespace e2e
