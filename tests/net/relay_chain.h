/// A relay between two connections, and what talks through it.
#pragma once
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "../uring/sockets.h"
#include "listener.h"

namespace testing {

using SocketPair = std::pair<ringfort::Fd, ringfort::Fd>;

inline SocketPair tcp_pair() {
    const Listener listener;
    ringfort::Fd near{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ringfort::ensure(::connect(near.get(), listener.address.data(), listener.address.size()) == 0,
                     "connect");
    ringfort::Fd far{::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    ringfort::ensure(static_cast<bool>(far), "accept");
    return {std::move(near), std::move(far)};
}

enum class Family { unix_socket, tcp };

inline SocketPair pair_of(Family family) {
    return family == Family::tcp ? tcp_pair() : socket_pair();
}

/// client <-> [left | relay | right] <-> server
struct Chain {
    explicit Chain(ringfort::uring::Loop& loop, Family family = Family::unix_socket)
        : Chain{loop, pair_of(family), pair_of(family)} {}
    Chain(ringfort::uring::Loop& loop, SocketPair near, SocketPair far)
        : client{loop, std::move(near.first)},
          left{loop, std::move(near.second)},
          right{loop, std::move(far.first)},
          server{loop, std::move(far.second)} {}

    [[nodiscard]] bool blocking() const {
        return ((::fcntl(left.fd(), F_GETFL) | ::fcntl(right.fd(), F_GETFL)) & O_NONBLOCK) == 0;
    }

    ringfort::net::Stream client, left, right, server;
    ringfort::net::RelayTotals totals;
    std::optional<ringfort::Result<void>> outcome;
};

inline ringfort::coro::Task<> run_relay(ringfort::uring::Loop& loop, Chain& chain,
                                        std::optional<ringfort::Milliseconds> idle = {}) {
    chain.outcome =
        co_await ringfort::net::relay(loop, chain.left, chain.right, idle, chain.totals);
}

inline ringfort::net::PipePool& pipes() {
    return ringfort::net::PipePool::of_this_thread();
}

/// Checks what a relay has to give back, however it ended. Buffers are not checked: the chain's own
/// ends may have received what nobody read.
inline void expect_nothing_left(const Chain& chain) {
    CHECK(pipes().lent() == 0);
    CHECK(chain.blocking());
}

/// As a limit of read_flow: to the end.
inline constexpr std::uint64_t all = ~std::uint64_t{0};

/// The byte at a position of a flow: no two flows and no two places look alike for long.
inline char byte_at(std::uint64_t position, std::uint64_t seed) {
    const std::uint64_t mixed = (position / 7 + seed) * 0x9e37'79b9'7f4a'7c15U;
    return static_cast<char>((mixed >> 32) + position);
}

/// Writes `size` bytes of the flow from `position` on.
inline ringfort::coro::Task<bool> write_flow(ringfort::net::Stream& stream, std::uint64_t position,
                                             std::uint64_t size, std::uint64_t seed) {
    constexpr std::uint64_t piece = 256 << 10;
    std::string text;
    for (const std::uint64_t end = position + size; position < end;) {
        text.resize(std::min(piece, end - position));
        for (char& c : text) c = byte_at(position++, seed);
        if (!co_await stream.send_all(text)) co_return false;
    }
    co_return true;
}

/// Reads to the end, or until `limit` bytes came; returns how many were right, without a gap.
inline ringfort::coro::Task<std::uint64_t> read_flow(ringfort::net::Stream& stream,
                                                     std::uint64_t position, std::uint64_t limit,
                                                     std::uint64_t seed) {
    std::uint64_t count = 0;
    while (count < limit) {
        const auto chunk = co_await stream.receive();
        if (!chunk || chunk->empty()) break;
        for (const char c : chunk->text())
            if (c == byte_at(position + count, seed))
                ++count;
            else
                co_return count;
    }
    co_return count;
}

}  // namespace testing
