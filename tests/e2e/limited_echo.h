#pragma once
#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config.h"
#include "connection.h"
#include "endpoint.h"

namespace e2e {

/// The parts of a configuration of the echo app that limits its clients.
[[nodiscard]] std::string zone_of(std::string_view size, std::string_view more = "");
[[nodiscard]] std::string limit(const std::string& keys);
/// All of it, with a drain time that no test waits for.
[[nodiscard]] Config limited(const std::string& keys, std::string_view size = "1MiB");

/// Connects from another address of this machine: another client.
[[nodiscard]] Connection from(const std::string& address, const Endpoint& server);
/// Says whether a new connection is served.
[[nodiscard]] std::optional<Connection> try_to_enter(const Endpoint& server);
/// Enters as often as it is served, up to `most` times.
[[nodiscard]] std::vector<Connection> enter(const Endpoint& server, std::size_t most);
/// Enters until so many are held in all, as connections that have ended are given back.
[[nodiscard]] bool fills_up(std::vector<Connection>& held, const Endpoint& server, std::size_t to);
/// Returns how many of the connections are still served; drops the others.
std::size_t still_served(std::vector<Connection>& held);

/// Returns where a server's zone can be opened; fails the test when it has none of that name.
[[nodiscard]] std::string zone_file(pid_t server, std::string_view zone);

}  // namespace e2e
