/// How many completions a turn of a busy loop waits for, and that it waits no longer than it may.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"
#include "stream_pair.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using testing::read_exactly;
using testing::StreamPair;
using uring::Batching;
using uring::Loop;

namespace {

constexpr int long_after = 8 * static_cast<int>(limits::batch_turns);

void turns(Batching& batching, int count, std::uint32_t completions) {
    for (int i = 0; i < count; ++i) batching.end_turn(completions);
}

}  // namespace

TEST_CASE(
    "a loop waits for three quarters of what its turns bring, and for one where that is little") {
    Batching batching;
    CHECK(batching.least() == 1);
    turns(batching, long_after, static_cast<std::uint32_t>(limits::batch_from) - 1);
    CHECK(batching.least() == 1);
    turns(batching, long_after, static_cast<std::uint32_t>(limits::batch_from) + 1);
    CHECK(batching.least() > 1);
    turns(batching, long_after, 40);
    CHECK(batching.least() >= 29);
    CHECK(batching.least() <= 30);
    turns(batching, long_after, 0);
    CHECK(batching.least() == 1);
}

TEST_CASE("one turn of many does not have the next one wait for as many") {
    Batching batching;
    turns(batching, 1, 100'000);
    CHECK(batching.least() == 1);
}

TEST_CASE("no turn waits for more than it may, nor does it take long to be one again") {
    Batching batching;
    turns(batching, long_after, 100'000);
    CHECK(batching.least() <= limits::batch_most);
    CHECK(batching.least() >= limits::batch_most - 1);
    turns(batching, 2 * static_cast<int>(limits::batch_turns), 1);
    CHECK(batching.least() == 1);
}

TEST_CASE("a loop that many kept busy does not keep a single one waiting, nor a timer") {
    auto loop = Loop::open().value();
    loop->run([](Loop& on) -> Task<> {
        std::vector<StreamPair> pairs;
        for (int i = 0; i < 64; ++i) pairs.emplace_back(on);
        co_await testing::exchange(pairs, "hello", 100);
        // It waits for several now; none but these come.
        for (int i = 0; i < 20; ++i) {
            put(pairs.front().far, "alone");
            CHECK(co_await read_exactly(pairs.front().near, 5) == "alone");
        }
        const Instant begin = now();
        CHECK((co_await on.sleep(Milliseconds{20})).has_value());
        CHECK(now() - begin >= Milliseconds{20});
    }(*loop));
}
