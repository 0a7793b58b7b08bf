#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;

using namespace ringfort;
using std::chrono::nanoseconds;

namespace {

struct Noted : coro::Timer {
    Noted() : Timer{[](Timer& self) noexcept { ++static_cast<Noted&>(self).fired; }} {}
    std::optional<Instant> due;
    int fired = 0;
};

/// Spans at which a wheel may go wrong: within a tick, around the borders of its levels, years.
nanoseconds random_span(std::mt19937_64& random) {
    static constexpr std::array<std::int64_t, 9> scales{1'000,
                                                        1'000'000,
                                                        64'000'000,
                                                        4'096'000'000,
                                                        60'000'000'000,
                                                        3'600'000'000'000,
                                                        90'000'000'000'000'000,
                                                        262'144'000'000,
                                                        16'777'216'000'000};
    const auto scale = scales[random() % scales.size()];
    if (random() % 4 == 0) return nanoseconds{scale};
    return nanoseconds{static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(scale))};
}

/// Checks after `fire(at)` that exactly those have fired which the model says.
std::size_t check_fired(std::vector<Noted>& timers, Instant at) {
    const Milliseconds tick{1};
    std::size_t armed = 0;
    for (Noted& timer : timers) {
        if (!timer.due) {
            CHECK((timer.fired == 0 && !timer.armed()));
        } else if (timer.armed()) {
            ++armed;
            if (timer.fired != 0 || at >= *timer.due + tick) FAIL("late");
        } else {
            if (timer.fired != 1 || at < *timer.due) FAIL("early");
            timer.due.reset();
            timer.fired = 0;
        }
    }
    return armed;
}

}  // namespace

TEST_CASE("the wheel agrees with a model over any span of time") {
    const auto seed = static_cast<std::uint64_t>(GENERATE(range(1, 31)));
    CAPTURE(seed);
    std::mt19937_64 random{seed};
    Instant time{nanoseconds{static_cast<std::int64_t>(random() % (1ULL << 50))}};
    coro::TimerQueue queue{time};
    std::vector<Noted> timers(100);
    for (int step = 0; step < 3'000; ++step) {
        for (std::size_t i = random() % 20; i > 0; --i) {
            Noted& timer = timers[random() % timers.size()];
            if (random() % 3 == 0) {
                timer.disarm();
                timer.due.reset();
            } else {
                timer.due = time + random_span(random) - nanoseconds{random() % 3 * 700'000};
                queue.arm(timer, *timer.due);
                timer.due = std::max(*timer.due, time);  // from now on it may be late
            }
        }
        const auto next = queue.next();
        std::optional<Instant> earliest;
        for (const Noted& timer : timers)
            if (timer.due && (!earliest || *timer.due < *earliest)) earliest = timer.due;
        REQUIRE(next.has_value() == earliest.has_value());
        if (next) {
            REQUIRE(*next <= *earliest + Milliseconds{1});
            REQUIRE(*next + Milliseconds{1} > time);
        }
        // Sometimes as a loop does it, sometimes a leap.
        time = next && random() % 2 == 0 ? std::max(*next, time) : time + random_span(random);
        if (time > Instant{std::chrono::hours{24 * 365 * 100}}) break;
        (void)queue.fire(time);
        REQUIRE(check_fired(timers, time) == queue.size());
    }
    for (Noted& timer : timers) timer.disarm();
    CHECK_FALSE(queue.next());
    CHECK(queue.size() == 0);
}

TEST_CASE("following next leads to a timer of any span in a few steps") {
    coro::TimerQueue queue{Instant{std::chrono::hours{24 * 400}}};
    for (const auto span :
         {Milliseconds{1}, Milliseconds{63}, Milliseconds{64}, Milliseconds{4'096},
          Milliseconds{86'400'000}, Milliseconds{31'536'000'000}}) {
        Noted timer;
        const Instant due = Instant{std::chrono::hours{24 * 400}} + span;
        coro::TimerQueue wheel{Instant{std::chrono::hours{24 * 400}}};
        wheel.arm(timer, due);
        int steps = 0;
        while (timer.fired == 0 && steps < 100) {
            ++steps;
            (void)wheel.fire(*wheel.next());
        }
        CHECK(steps <= 8);
        CHECK(timer.fired == 1);
    }
}

TEST_CASE("timers of one tick fire in the order of arming, wherever they waited") {
    static std::vector<int> order;
    order.clear();
    struct Ordered : coro::Timer {
        Ordered()
            : Timer{[](Timer& self) noexcept {
                  order.push_back(static_cast<Ordered&>(self).number);
              }} {}
        int number = 0;
    };
    coro::TimerQueue queue;
    std::array<Ordered, 6> timers;
    const Instant due = Instant{} + Milliseconds{5'000};
    for (std::size_t i = 0; i < timers.size(); ++i) {
        timers[i].number = static_cast<int>(i);
        queue.arm(timers[i], due);
        (void)queue.fire(Instant{} + Milliseconds{800 * (i + 1)});
    }
    CHECK(queue.fire(due) == timers.size());
    CHECK(order == std::vector{0, 1, 2, 3, 4, 5});
}

TEST_CASE("an action that arms its own timer for the past does not fire for ever") {
    struct Eager : coro::Timer {
        explicit Eager(coro::TimerQueue& on)
            : Timer{[](Timer& self) noexcept {
                  auto& eager = static_cast<Eager&>(self);
                  ++eager.fired;
                  eager.queue.arm(eager, Instant{});
              }},
              queue{on} {}
        coro::TimerQueue& queue;
        int fired = 0;
    };
    coro::TimerQueue queue;
    Eager eager{queue};
    queue.arm(eager, Instant{});
    CHECK(queue.fire(Instant{std::chrono::hours{1'000}}) == 1);
    CHECK(queue.fire(Instant{std::chrono::hours{1'000}} + Milliseconds{1}) == 1);
    CHECK(eager.fired == 2);
    eager.disarm();
}

TEST_CASE("an action may disarm and destroy others that are due with it") {
    struct Killer : coro::Timer {
        Killer()
            : Timer{[](Timer& self) noexcept {
                  auto& killer = static_cast<Killer&>(self);
                  delete std::exchange(killer.victim, nullptr);
              }} {}
        Noted* victim = new Noted;
    };
    coro::TimerQueue queue;
    Killer killer;
    queue.arm(killer, Instant{} + Milliseconds{10});
    queue.arm(*killer.victim, Instant{} + Milliseconds{10});
    CHECK(queue.fire(Instant{} + Milliseconds{10}) == 1);
    CHECK(queue.size() == 0);
}
