/// Sockets for the soft ring's tests: TCP and UDP over the loopback device, and scenarios played
/// over more than one kind. Include after the imports.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <utility>

#include "sockets.h"
#include "soft_ring_bench.h"

namespace testing {

inline sockaddr_in loopback(in_port_t port = 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

inline sockaddr_in address_of(int socket) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    return address;
}

inline ringfort::Fd bound(int type) {
    ringfort::Fd socket{::socket(AF_INET, type | SOCK_CLOEXEC, 0)};
    const auto address = loopback();
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return socket;
}

inline ringfort::Fd listener(int backlog = 64) {
    ringfort::Fd socket = bound(SOCK_STREAM);
    REQUIRE(::listen(socket.get(), backlog) == 0);
    return socket;
}

inline ringfort::Fd connected(int to) {
    ringfort::Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const auto address = address_of(to);
    REQUIRE(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
            0);
    return socket;
}

inline std::pair<ringfort::Fd, ringfort::Fd> tcp_pair() {
    const auto door = listener();
    auto near = connected(door.get());
    ringfort::Fd far{::accept4(door.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    REQUIRE(far.get() >= 0);
    return {std::move(near), std::move(far)};
}

using Pair = std::pair<ringfort::Fd, ringfort::Fd>;

/// Plays a scenario over unix and over TCP sockets.
inline void compare_streams(void (*scenario)(Bench&, Pair)) {
    compare([&](Bench& bench) { scenario(bench, socket_pair()); });
    compare([&](Bench& bench) { scenario(bench, tcp_pair()); });
}

/// Makes closing the socket a reset.
inline void reset(ringfort::Fd socket) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    REQUIRE(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    socket.close();
}

/// Makes a socket take little to send at a time.
inline void shrink(int socket, int bytes) {
    REQUIRE(::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0);
}

}  // namespace testing
