#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;

namespace {

/// Goes behind all others that may go on.
struct Yield {
    coro::Resumption resumption;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <coro::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> task) noexcept {
        const coro::Context& context = task.promise().context();
        resumption.prepare(task, context);
        context.scheduler->push(resumption);
    }
    void await_resume() const noexcept {}
};

Task<> yield_for_ever(const bool& stop, std::size_t& count) {
    while (!stop) {
        ++count;
        co_await Yield{};
    }
}

Task<> busy(Milliseconds each, const bool& stop) {
    while (!stop) {
        const Instant end = now() + each;
        while (now() < end) continue;
        co_await Yield{};
    }
}

}  // namespace

TEST_CASE("a run ends when its resumptions are used up") {
    coro::Scheduler scheduler;
    bool stop = false;
    std::size_t count = 0;
    testing::Running running{scheduler, yield_for_ever(stop, count)};
    CHECK(scheduler.run({.resumptions = 100, .time = Milliseconds{10'000}}) == 100);
    CHECK(count == 101);
    CHECK(scheduler.run() == limits::resumptions_per_turn);
    CHECK_FALSE(scheduler.empty());
    stop = true;
    CHECK(scheduler.run() == 1);
}

TEST_CASE("a run ends when its time is used up, a few resumptions late at most") {
    coro::Scheduler scheduler;
    bool stop = false;
    testing::Running running{scheduler, busy(Milliseconds{1}, stop)};
    const Instant begin = now();
    const std::size_t resumed = scheduler.run({.time = Milliseconds{5}});
    CHECK(now() - begin >= Milliseconds{5});
    CHECK(resumed <= 16);
    stop = true;
    scheduler.run(testing::plenty);
}

TEST_CASE("what is run on ends when its time is used up, with tasks left that may go on") {
    coro::Scheduler scheduler;
    bool stop = false;
    std::size_t count = 0;
    testing::Running running{scheduler, yield_for_ever(stop, count)};
    (void)scheduler.run({.resumptions = 1});
    const Instant end = scheduler.clock() + Milliseconds{5};
    scheduler.run_on(end, 16);
    CHECK(scheduler.clock() >= end);
    CHECK_FALSE(scheduler.empty());
    count = 0;
    scheduler.run_on(end, 16);
    CHECK(count == 0);
    stop = true;
    scheduler.run(testing::plenty);
}

TEST_CASE("what is run on ends where a reading of the clock finds that its time is used up") {
    const coro::Label one{"one"};
    const coro::Label other{"other"};
    coro::Scheduler scheduler;
    const coro::Context context{.scheduler = &scheduler};
    coro::Scope first{context, &one};
    coro::Scope second{context, &other};
    std::size_t resumed = 0;
    const auto spend = [](Milliseconds time, std::size_t& count) -> coro::Task<> {
        ++count;
        const Instant end = now() + time;
        while (now() < end) continue;
        co_return;
    };
    first.spawn(spend(Milliseconds{5}, resumed));
    SECTION("because the next is of another label") {
        second.spawn(spend(Milliseconds{0}, resumed));
        scheduler.run_on(scheduler.clock() + Milliseconds{5}, 16);
    }
    SECTION("because so many were resumed") {
        first.spawn(spend(Milliseconds{0}, resumed));
        scheduler.run_on(scheduler.clock() + Milliseconds{5}, 1);
    }
    CHECK(resumed == 1);
    CHECK_FALSE(scheduler.empty());
    scheduler.run(testing::plenty);
}

TEST_CASE("a task that loops over what is ready lets others run") {
    coro::Scheduler scheduler;
    bool stop = false;
    std::size_t others = 0;
    testing::Running other{scheduler, yield_for_ever(stop, others)};
    scheduler.run({.resumptions = 1});
    const std::size_t before = others;

    SECTION("an event that is set") {
        auto greedy = [](coro::Event& event) -> Task<> {
            for (int i = 0; i < 10'000; ++i) (void)co_await event.wait();
        };
        coro::Event event;
        event.set();
        testing::Running running{scheduler, greedy(event)};
        while (!running.done()) scheduler.run({.resumptions = 1});
    }
    SECTION("a channel between two ends of one task") {
        auto greedy = [](coro::Channel<int>& channel) -> Task<> {
            for (int i = 0; i < 5'000; ++i) {
                (void)co_await channel.send(int{i});
                (void)co_await channel.receive();
            }
        };
        coro::Channel<int> channel{1};
        testing::Running running{scheduler, greedy(channel)};
        while (!running.done()) scheduler.run({.resumptions = 1});
    }
    SECTION("a mutex nobody else wants") {
        auto greedy = [](coro::Mutex& mutex) -> Task<> {
            for (int i = 0; i < 10'000; ++i) (void)co_await mutex.lock();
        };
        coro::Mutex mutex;
        testing::Running running{scheduler, greedy(mutex)};
        while (!running.done()) scheduler.run({.resumptions = 1});
    }
    SECTION("a sequence that is full") {
        auto greedy = [](coro::Sequence<int>& sequence) -> Task<> {
            for (int i = 0; i < 10'000; ++i) (void)co_await sequence.next();
        };
        coro::Sequence<int> sequence;
        for (int i = 0; i < 10'000; ++i) CHECK(sequence.push(int{i}).has_value());
        testing::Running running{scheduler, greedy(sequence)};
        while (!running.done()) scheduler.run({.resumptions = 1});
    }
    CHECK(others - before >= 10'000 / limits::completions_per_resumption - 2);
    stop = true;
    scheduler.run(testing::plenty);
}

TEST_CASE("a task has its full share of completions at each resumption") {
    coro::Scheduler scheduler;
    auto body = [](coro::Event& event, std::size_t& waited) -> Task<> {
        co_await Yield{};
        for (;;) {
            if (!co_await event.wait()) co_return;
            ++waited;
        }
    };
    coro::CancelSource cancel;
    coro::Event event;
    event.set();
    std::size_t waited = 0;
    testing::Running running{scheduler, body(event, waited), &cancel};
    scheduler.run({.resumptions = 1});
    CHECK(waited == limits::completions_per_resumption);
    scheduler.run({.resumptions = 1});
    CHECK(waited == 2 * limits::completions_per_resumption + 1);
    event.reset();
    cancel.request();
    scheduler.run(testing::plenty);
    CHECK(running.done());
}
