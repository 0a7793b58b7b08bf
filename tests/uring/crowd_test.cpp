/// Of how many sockets a turn brings large pieces, and what follows for each of them.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
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
using testing::read_exactly;
using testing::StreamPair;
using uring::Crowd;
using uring::Loop;

namespace {

/// So many turns make what was before count for less than a twentieth.
constexpr int long_after = 3 * static_cast<int>(limits::direct_turns);

void turns(Crowd& crowd, int count, std::uint32_t sockets) {
    std::vector<std::uint8_t> notes(sockets, 0);
    for (int i = 0; i < count; ++i) {
        for (std::uint8_t& note : notes) crowd.join(note);
        crowd.end_turn();
    }
}

/// Has the first `count` of `members` receive a piece, `times` times, in a turn each; returns how
/// many calls of their own that took.
Task<std::uint64_t> receive(Loop& on, std::vector<StreamPair>& members, std::size_t count,
                            int times) {
    const std::uint64_t before = on.statistics().direct;
    const std::string piece(limits::direct_transfer.count, 'p');
    for (int i = 0; i < times; ++i) {
        for (std::size_t j = 0; j < count; ++j) put(members[j].far, piece);
        coro::Scope receivers{co_await coro::current_context()};
        for (std::size_t j = 0; j < count; ++j) receivers.spawn(expect(members[j].near, piece));
        co_await receivers.join();
        (void)co_await on.sleep(Milliseconds{1});  // what comes next is another turn's
    }
    co_return on.statistics().direct - before;
}

}  // namespace

TEST_CASE("a crowd is as many in a turn as it was told, in the mean of many turns") {
    Crowd crowd{3};
    CHECK_FALSE(crowd.crowded());
    turns(crowd, long_after, 2);
    CHECK_FALSE(crowd.crowded());
    turns(crowd, long_after, 3);
    CHECK(crowd.crowded());
    turns(crowd, 2 * long_after, 2);
    CHECK_FALSE(crowd.crowded());
    turns(crowd, long_after, 3);
    CHECK(crowd.crowded());
    turns(crowd, long_after, 1);
    CHECK_FALSE(crowd.crowded());
}

TEST_CASE("one turn of many is no crowd, nor does it take long to be none after many") {
    Crowd crowd{3};
    turns(crowd, 1, 1'000);
    CHECK_FALSE(crowd.crowded());
    turns(crowd, long_after, 1'000);
    CHECK(crowd.crowded());
    turns(crowd, long_after, 1);
    CHECK_FALSE(crowd.crowded());
}

TEST_CASE("a turn in which nobody joins says nothing about the crowd") {
    Crowd crowd{3};
    turns(crowd, long_after, 4);
    CHECK(crowd.crowded());
    turns(crowd, long_after, 0);
    CHECK(crowd.crowded());
}

TEST_CASE("who joins several times in a turn counts once, and in the next one again") {
    const std::size_t members = GENERATE(2U, 3U);
    CAPTURE(members);
    Crowd crowd{3};
    std::vector<std::uint8_t> notes(members, 0);
    for (int i = 0; i < long_after; ++i) {
        for (int j = 0; j < 10; ++j)
            for (std::uint8_t& note : notes) crowd.join(note);
        crowd.end_turn();
    }
    CHECK(crowd.crowded() == (members == 3));
}

TEST_CASE("whoever comes is counted, however many turns there were before") {
    // A note tells 256 turns apart.
    for (int before = 0; before < 2 * 256; ++before) {
        Crowd crowd{3};
        turns(crowd, before, 1);
        turns(crowd, long_after, 3);
        CHECK(crowd.crowded());
    }
}

TEST_CASE("with a size of nothing there always is a crowd") {
    Crowd crowd{0};
    CHECK(crowd.crowded());
    turns(crowd, long_after, 1);
    CHECK(crowd.crowded());
}

TEST_CASE("large pieces are received by calls of their own as long as many sockets bring them") {
    auto loop = Loop::open().value();
    loop->run([](Loop& on) -> Task<> {
        std::vector<StreamPair> members;
        for (int i = 0; i < 6; ++i) members.emplace_back(on);
        CHECK(co_await receive(on, members, 1, long_after) == 0);
        (void)co_await receive(on, members, 6, long_after);
        CHECK(co_await receive(on, members, 6, 20) >= 6U * 20);
        // One is left: after a while it is the ring's.
        (void)co_await receive(on, members, 1, long_after);
        CHECK(co_await receive(on, members, 1, 20) == 0);
        // And so are the others, when they have received once more.
        CHECK(co_await receive(on, members, 6, 1) <= 2U * 6);
        CHECK(co_await receive(on, members, 6, 1) == 0);
    }(*loop));
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("how many sockets are a crowd can be chosen") {
    auto loop = Loop::open({.direct_sockets = 1'000}).value();
    loop->run([](Loop& on) -> Task<> {
        std::vector<StreamPair> members;
        for (int i = 0; i < 6; ++i) members.emplace_back(on);
        CHECK(co_await receive(on, members, 6, long_after) == 0);
    }(*loop));
}

namespace {

/// What a socket is sent in a round: no two bytes of one place are alike in rounds or sockets that
/// follow each other. More than a buffer, so that some is left by each receive.
std::string text_of(std::size_t socket, int round) {
    std::string text(limits::receive_buffer_size.count + 5'000, '\0');
    for (std::size_t i = 0; i < text.size(); ++i)
        text[i] = static_cast<char>(i / 251 + i + socket * 17 + static_cast<std::size_t>(round));
    return text;
}

/// Sends and receives a text by each of the first `count` of `pairs`, `times` times.
Task<> exchange(Loop& on, std::vector<StreamPair>& pairs, std::size_t count, int times) {
    for (int round = 0; round < times; ++round) {
        std::vector<std::string> texts;
        for (std::size_t i = 0; i < count; ++i) texts.push_back(text_of(i, round));
        coro::Scope tasks{co_await coro::current_context()};
        for (std::size_t i = 0; i < count; ++i) {
            tasks.spawn([](Loop& loop, StreamPair& pair, const std::string& text) -> Task<> {
                CHECK((co_await loop.send_all(pair.far.get(), std::as_bytes(std::span{text})))
                          .has_value());
            }(on, pairs[i], texts[i]));
            tasks.spawn(expect(pairs[i].near, texts[i]));
        }
        co_await tasks.join();
    }
}

}  // namespace

TEST_CASE("no byte is lost or changes its place while crowds come and go") {
    const bool tcp = GENERATE(true, false);
    CAPTURE(tcp);
    // Enough for a kernel on which each piece takes one.
    auto loop = Loop::open({.receive_buffers = 64}).value();
    loop->run([](Loop& on, bool of_tcp) -> Task<> {
        std::vector<StreamPair> pairs;
        for (int i = 0; i < 6; ++i)
            pairs.emplace_back(on, of_tcp ? testing::tcp_pair() : testing::socket_pair());
        const std::uint64_t before = on.statistics().direct;
        for (int i = 0; i < 4; ++i) {
            co_await exchange(on, pairs, 6, 60);
            co_await exchange(on, pairs, 1, long_after);
        }
        CHECK(on.statistics().direct > before);
        // Ends, behind bytes and by themselves, come in whichever way each socket is received from.
        co_await exchange(on, pairs, 6, 60);
        co_await exchange(on, pairs, 1, long_after);
        put(pairs[1].far, "last");
        for (StreamPair& pair : pairs) pair.far.close();
        CHECK(co_await read_exactly(pairs[1].near, 5) == "last");
        for (StreamPair& pair : pairs) CHECK((co_await pair.near.receive()).value().empty());
    }(*loop, tcp));
    CHECK(loop->buffers().leased() == 0);
}

namespace {

/// Has `pair` alone receive a piece in each of so many turns, and pauses it behind each if told to;
/// returns how many it received by calls of its own.
Task<int> receive_alone(Loop& on, StreamPair& pair, int turns, bool pauses) {
    const std::uint64_t before = on.statistics().direct;
    for (int i = 0; i < turns; ++i) {
        std::string piece(limits::direct_transfer.count, 'p');
        piece.front() = static_cast<char>('A' + i % 26);
        put(pair.far, piece);
        CHECK(co_await read_exactly(pair.near, piece.size()) == piece);
        if (pauses) pair.near.receiver().pause();
        (void)co_await on.sleep(Milliseconds{0});  // to the next turn
    }
    co_return static_cast<int>(on.statistics().direct - before);
}

}  // namespace

TEST_CASE("a socket pauses or closes in the very turn in which its crowd ends") {
    auto loop = Loop::open().value();
    loop->run([](Loop& on) -> Task<> {
        std::vector<StreamPair> members;
        for (int i = 0; i < 4; ++i) members.emplace_back(on);
        const auto crowd = [&]() -> Task<> {  // and always the same one
            (void)co_await receive_alone(on, members[0], long_after, false);
            (void)co_await receive(on, members, 4, 64);
        };
        co_await crowd();
        const int last = co_await receive_alone(on, members[0], long_after, false);
        CHECK(last > 0);
        CHECK(last < long_after);
        co_await crowd();
        const int paused = co_await receive_alone(on, members[0], long_after, true);
        CHECK(paused > 0);
        CHECK(paused < long_after);
        for (int turn = last; turn <= last + 2; ++turn) {  // it is none from the second on
            co_await crowd();
            StreamPair leaver{on};
            CHECK(co_await receive_alone(on, leaver, turn, false) > 0);
            put(leaver.far, "not received");
        }
        CHECK(co_await receive(on, members, 4, 64) > 0);
    }(*loop));
    CHECK(loop->buffers().leased() == 0);
}
