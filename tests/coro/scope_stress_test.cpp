/// Random trees of tasks that do everything there is to wait for, cancelled at random moments: at
/// each point at which a task can be suspended, in some run. Whatever happens, every task ends,
/// every value is accounted for, and nothing is left behind.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <system_error>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;

namespace {

/// Counts its living copies.
struct Token {
    explicit Token(int& counter) : living{&counter} { ++*living; }
    Token(Token&& other) noexcept : living{std::exchange(other.living, nullptr)} {}
    Token& operator=(Token&& other) noexcept {
        std::swap(living, other.living);
        return *this;
    }
    ~Token() {
        if (living != nullptr) --*living;
    }
    int* living;
};

struct World {
    explicit World(std::uint64_t seed) : random{seed} {}

    std::mt19937_64 random;
    int living = 0;
    int inside = 0;
    std::size_t permits_held = 0;
    int running = 0;
    int sent = 0;
    int received = 0;
    int steps = 0;
    coro::Event event;
    coro::Mutex mutex;
    coro::Semaphore semaphore{4};
    coro::Channel<Token> channel{3};

    std::uint64_t below(std::uint64_t bound) { return random() % bound; }
    Milliseconds moment() { return Milliseconds{static_cast<int>(below(6))}; }
};

Task<Result<int>> act(World& world, int depth);

Task<> act_alone(World& world, int depth) {
    (void)co_await act(world, depth);
}

/// Lets cancelled tasks do what they owe: hold for a moment what they hold.
Task<> hold(World& world) {
    (void)co_await coro::sleep_for(world.moment());
}

Task<Result<int>> lock(World& world) {
    auto guard = co_await co_await world.mutex.lock();
    if (++world.inside != 1) FAIL("two in a mutex");
    co_await hold(world);
    --world.inside;
    co_return 1;
}

Task<Result<int>> acquire(World& world) {
    const std::size_t count = 1 + world.below(4);
    auto permit = co_await co_await world.semaphore.acquire(count);
    world.permits_held += count;
    if (world.permits_held > 4) FAIL("too many permits");
    co_await hold(world);
    world.permits_held -= count;
    co_return 2;
}

Task<Result<int>> exchange(World& world, bool send) {
    if (send) {
        Token token{world.living};
        const auto sent = co_await world.channel.send(std::move(token));
        if (sent.has_value() != (token.living == nullptr)) FAIL("sent and not sent");
        if (sent) ++world.sent;
        co_await sent;
        co_return 3;
    }
    auto received = co_await co_await world.channel.receive();
    if (received) ++world.received;
    co_return 4;
}

Task<Result<int>> crowd(World& world, int depth) {
    coro::Scope scope{co_await coro::current_context(), {.limit = 1 + world.below(4)}};
    for (std::uint64_t i = world.below(6); i > 0; --i) {
        if (world.below(2) == 0)
            (void)co_await scope.spawn_when_room(act_alone(world, depth - 1));
        else
            (void)scope.try_spawn(act_alone(world, depth - 1));
    }
    if (world.below(3) == 0) scope.cancel();
    co_await scope.join();
    co_return 5;
}

Task<Result<int>> several(World& world, int depth) {
    if (world.below(2) == 0) {
        const auto winner =
            co_await coro::when_any(act(world, depth - 1), act(world, depth - 1), hold(world));
        co_return static_cast<int>(winner.index());
    }
    auto [first, second] = co_await coro::when_all(act(world, depth - 1), act(world, depth - 1));
    co_await first;
    co_return co_await second;
}

Task<Result<int>> throwing(World& world, int depth) {
    auto thrower = [](World& inner) -> Task<Result<int>> {
        (void)co_await coro::sleep_for(inner.moment());
        throw std::runtime_error{"on purpose"};
    };
    try {
        (void)co_await coro::when_all(thrower(world), act(world, depth - 1));
    } catch (const std::runtime_error&) {
        co_return 6;
    }
    FAIL("an exception was lost");
    co_return 0;
}

Task<Result<int>> act(World& world, int depth) {
    const Token token{world.living};
    ++world.steps;
    switch (world.below(depth > 0 ? 12 : 7)) {
        case 0:
            co_await co_await coro::sleep_for(world.moment());
            break;
        case 1:
            co_await co_await world.event.wait();
            break;
        case 2:
            co_return co_await lock(world);
        case 3:
            co_return co_await acquire(world);
        case 4:
        case 5:
            co_return co_await exchange(world, true);
        case 6:
            co_return co_await exchange(world, false);
        case 7:
            co_return co_await crowd(world, depth);
        case 8:
            co_return co_await several(world, depth);
        case 9:
            co_return co_await throwing(world, depth);
        case 10:
            co_return co_await coro::timeout(world.moment(), act(world, depth - 1));
        default:
            co_return co_await coro::timeout(world.moment(), lock(world));
    }
    co_return 0;
}

Task<> root(World& world) {
    coro::Scope scope{co_await coro::current_context()};
    for (int i = 0; i < 20; ++i) scope.spawn(act_alone(world, 4));
    co_await scope.join();
}

}  // namespace

TEST_CASE("random trees of tasks, cancelled at random moments, end and leave nothing behind") {
    const auto block = static_cast<std::uint64_t>(GENERATE(range(0, 10)));
    int steps = 0;
    for (std::uint64_t seed = block * 500; seed < block * 500 + 500; ++seed) {
        CAPTURE(seed);
        World world{seed};
        coro::Scheduler scheduler;
        coro::CancelSource cancel;
        {
            testing::Running running{scheduler, root(world), &cancel};
            const std::uint64_t moment = world.below(400);
            for (std::uint64_t turn = 0; !running.done() && turn < 5'000; ++turn) {
                if (turn == moment) cancel.request();
                if (world.below(10) == 0) {
                    world.event.set();
                    world.event.reset();
                }
                if (world.below(8) == 0 && world.channel.try_receive()) ++world.received;
                if (world.below(4) == 0) scheduler.begin_turn(scheduler.time() + Milliseconds{1});
                scheduler.run({.resumptions = static_cast<std::uint32_t>(1 + world.below(5)),
                               .time = Milliseconds{10'000}});
            }
            REQUIRE(running.done());
        }
        while (world.channel.try_receive()) ++world.received;
        REQUIRE(world.sent == world.received);
        REQUIRE(world.living == 0);
        REQUIRE(world.inside == 0);
        REQUIRE(world.semaphore.available() == 4);
        REQUIRE_FALSE(world.mutex.locked());
        REQUIRE(scheduler.empty());
        REQUIRE(scheduler.timers().size() == 0);
        steps += world.steps;
    }
    CHECK(steps > 500 * 20);
}
