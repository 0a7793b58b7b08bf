/// Large pieces, received by calls of their own, by a loop whose queues are too short for all.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"
#include "soft_ring_sockets.h"
#include "stream_pair.h"

using namespace ringfort;
using coro::Task;
using testing::expect;
using testing::put;
using testing::StreamPair;
using uring::Loop;

namespace {

constexpr std::size_t large = limits::direct_transfer.count;
constexpr std::size_t sockets = 100;

/// A loop with room for eight requests and eight answers, for which one socket is a crowd.
std::unique_ptr<Loop> open_loop() {
    return Loop::open({.submissions = 8, .completions = 8, .direct_sockets = 0}).value();
}

std::vector<StreamPair> make_pairs(Loop& on, bool of_tcp) {
    std::vector<StreamPair> pairs;
    for (std::size_t i = 0; i < sockets; ++i)
        pairs.emplace_back(on, of_tcp ? testing::tcp_pair() : testing::socket_pair());
    return pairs;
}

/// The piece that a socket is sent in a round.
std::string piece_of(std::size_t socket, int round, std::size_t size) {
    std::string piece(size, static_cast<char>('a' + socket % 26));
    piece.front() = static_cast<char>('A' + round % 26);
    return piece;
}

/// Sends each of `pairs` a piece of `size` bytes while all of them wait for one, `rounds` times:
/// what is asked of the kernel, and what it tells, comes for all of them at a time.
Task<> exchange(Loop& on, std::vector<StreamPair>& pairs, std::size_t size, int rounds) {
    for (int round = 0; round < rounds; ++round) {
        coro::Scope tasks{co_await coro::current_context()};
        for (std::size_t i = 0; i < pairs.size(); ++i)
            tasks.spawn(expect(pairs[i].near, piece_of(i, round, size)));
        (void)co_await on.sleep(Milliseconds{1});
        for (std::size_t i = 0; i < pairs.size(); ++i) put(pairs[i].far, piece_of(i, round, size));
        co_await tasks.join();
    }
}

}  // namespace

TEST_CASE("polls that an overflow has ended are asked for again, and no byte is lost") {
    const bool tcp = GENERATE(true, false);
    CAPTURE(tcp);
    auto loop = open_loop();
    loop->run([](Loop& on, bool of_tcp) -> Task<> {
        std::vector<StreamPair> pairs = make_pairs(on, of_tcp);
        co_await exchange(on, pairs, large, limits::direct_after);
        const std::uint64_t direct = on.statistics().direct;
        const std::uint64_t overflows = on.statistics().overflows;
        co_await exchange(on, pairs, large, 20);
        CHECK(on.statistics().direct - direct >= 20 * sockets);
        // The soft ring leaves what is ready where it is instead.
        if (on.backend() == uring::Backend::io_uring) CHECK(on.statistics().overflows > overflows);
        for (StreamPair& pair : pairs) pair.far.close();
        for (StreamPair& pair : pairs) CHECK((co_await pair.near.receive()).value().empty());
    }(*loop, tcp));
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("many sockets go from one way of receiving to the other at a time, by short queues") {
    const bool tcp = GENERATE(true, false);
    CAPTURE(tcp);
    auto loop = open_loop();
    loop->run([](Loop& on, bool of_tcp) -> Task<> {
        std::vector<StreamPair> pairs = make_pairs(on, of_tcp);
        for (int i = 0; i < 3; ++i) {
            const std::uint64_t before = on.statistics().direct;
            co_await exchange(on, pairs, large, 2 * limits::direct_after);
            CHECK(on.statistics().direct - before >= limits::direct_after * sockets);
            co_await exchange(on, pairs, 5, 2 * limits::direct_after);
            const std::uint64_t after = on.statistics().direct;
            co_await exchange(on, pairs, 5, 2);
            CHECK(on.statistics().direct == after);
        }
        // Closed while they are asked for, too.
        co_await exchange(on, pairs, large, limits::direct_after);
        pairs.clear();
    }(*loop, tcp));
    CHECK(loop->buffers().leased() == 0);
}
