/// A socket of the loop and its peer, which the test writes to. Include it behind the modules.
#pragma once
#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "sockets.h"

namespace testing {

struct StreamPair {
    explicit StreamPair(ringfort::uring::Loop& loop) : StreamPair{loop, socket_pair()} {}
    StreamPair(ringfort::uring::Loop& loop, std::pair<ringfort::Fd, ringfort::Fd> ends)
        : near{loop, std::move(ends.first)}, far{std::move(ends.second)} {}
    ringfort::uring::Socket near;
    ringfort::Fd far;
};

/// Receives so many bytes, or what there is before the end.
inline ringfort::coro::Task<std::string> read_exactly(ringfort::uring::Socket& socket,
                                                      std::size_t size) {
    std::string text;
    while (text.size() < size) {
        const auto chunk = co_await socket.receive();
        if (!chunk || chunk->empty()) break;
        text += chunk->text();
    }
    co_return text;
}

/// Receives `piece`, or fails.
inline ringfort::coro::Task<> expect(ringfort::uring::Socket& socket, std::string piece) {
    CHECK(co_await read_exactly(socket, piece.size()) == piece);
}

/// Sends each of `pairs` a piece while it waits for one, all at a time, `rounds` times.
inline ringfort::coro::Task<> exchange(std::vector<StreamPair>& pairs, std::string piece,
                                       int rounds) {
    for (int round = 0; round < rounds; ++round) {
        ringfort::coro::Scope tasks{co_await ringfort::coro::current_context()};
        for (StreamPair& pair : pairs) {
            tasks.spawn(expect(pair.near, piece));
            put(pair.far, piece);
        }
        co_await tasks.join();
    }
}

}  // namespace testing
