#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

import ringfort.base;
import ringfort.coro;

#include "../captured_log.h"
#include "drive.h"

using namespace ringfort;
using coro::Task;
using testing::CapturedLog;

namespace {

Task<> hold(Milliseconds time) {
    const Instant end = now() + time;
    while (now() < end) continue;
    co_return;
}

Task<> spawn_in(coro::Scope& scope, Task<> task, const coro::Label& label) {
    ensure((co_await scope.spawn_when_room(std::move(task), &label)).has_value(), "spawn");
}

const coro::Label slow{"service slow"};
const coro::Label quick{"service quick"};
const Instant start{std::chrono::hours{1}};

}  // namespace

TEST_CASE("a service that keeps the others waiting is named in the log, with the time") {
    const CapturedLog log;
    coro::Scheduler scheduler;
    const coro::Context context{.scheduler = &scheduler};
    coro::Scope slow_scope{context, &slow};
    coro::Scope quick_scope{context, &quick};
    for (int i = 0; i < 20; ++i) quick_scope.spawn(hold(Milliseconds{0}));
    slow_scope.spawn(hold(limits::stall_ms + Milliseconds{20}));
    for (int i = 0; i < 20; ++i) quick_scope.spawn(hold(Milliseconds{0}));
    while (!scheduler.empty()) scheduler.run();
    CHECK(log.lines() == 1);
    CHECK(log.text().find("service slow") != std::string::npos);
    CHECK(log.text().find("service quick") == std::string::npos);
    CHECK(log.text().find(" 12") != std::string::npos);
    CHECK(log.text().find("1 resumption;") != std::string::npos);
}

TEST_CASE("a task has the label it was spawned with, and not its scope's, from the very first on") {
    const CapturedLog log;
    coro::Scheduler scheduler;
    const coro::Context context{.scheduler = &scheduler};
    coro::Scope scope{context, {.limit = 2, .label = &quick}};
    Task<> blocks = hold(limits::stall_ms + Milliseconds{1});
    SECTION("by spawn") {
        scope.spawn(std::move(blocks), &slow);
    }
    SECTION("by try_spawn") {
        REQUIRE(scope.try_spawn(std::move(blocks), &slow));
    }
    SECTION("by spawn_when_room, with room") {
        scope.spawn(spawn_in(scope, std::move(blocks), slow));
    }
    SECTION("by spawn_when_room, without") {
        scope.spawn(spawn_in(scope, std::move(blocks), slow));
        scope.spawn(hold(Milliseconds{0}));
    }
    while (!scheduler.empty()) scheduler.run();
    CHECK(log.text().find("service slow") != std::string::npos);
    CHECK(log.text().find("service quick") == std::string::npos);
}

TEST_CASE(
    "of what is run on the clock is read after as many resumptions as are told, or by measure") {
    coro::Scheduler scheduler;
    coro::Scope scope{coro::Context{.scheduler = &scheduler}, &quick};
    const auto step = [&] {
        scope.spawn(hold(Milliseconds{0}));
        scheduler.run_on(Instant::max(), 5);
    };
    const Instant first = scheduler.clock();
    for (int i = 0; i < 4; ++i) step();
    CHECK(scheduler.clock() == first);
    step();
    const Instant second = scheduler.clock();
    CHECK(second > first);
    step();
    CHECK(scheduler.clock() == second);
    scheduler.measure();
    const Instant third = scheduler.clock();
    CHECK(third > second);
    scheduler.measure();  // nothing since
    CHECK(scheduler.clock() == third);
}

TEST_CASE("a service that stalls in what is run on is named, and not the one after it") {
    const CapturedLog log;
    coro::Scheduler scheduler;
    const coro::Context context{.scheduler = &scheduler};
    coro::Scope slow_scope{context, &slow};
    coro::Scope quick_scope{context, &quick};
    const auto step = [&](coro::Scope& scope, Milliseconds time) {
        scope.spawn(hold(time));
        scheduler.run_on(Instant::max(), 5);
    };
    step(quick_scope, Milliseconds{0});
    step(slow_scope, limits::stall_ms + Milliseconds{20});
    CHECK(log.lines() == 0);
    SECTION("by the next of another label") {
        step(quick_scope, Milliseconds{0});
    }
    SECTION("by the end") {
        scheduler.measure();
    }
    CHECK(log.lines() == 1);
    CHECK(log.text().find("service slow") != std::string::npos);
    CHECK(log.text().find("1 resumption;") != std::string::npos);
    step(slow_scope, Milliseconds{0});  // and each is measured now
    const Instant read = scheduler.clock();
    step(slow_scope, Milliseconds{0});
    CHECK(scheduler.clock() > read);
    scheduler.measure();
}

TEST_CASE("the clock can be read for work that is nobody's, who goes on next is not named for it") {
    const CapturedLog log;
    coro::Scheduler scheduler;
    coro::Scope scope{coro::Context{.scheduler = &scheduler}, &quick};
    const auto work = [](Milliseconds time) {
        const Instant end = now() + time;
        while (now() < end) continue;
    };
    work(limits::stall_ms + Milliseconds{20});
    const Instant before = scheduler.clock();
    scheduler.read_clock();
    CHECK(scheduler.clock() - before >= limits::stall_ms);
    scope.spawn(hold(Milliseconds{0}));
    scheduler.run_on(Instant::max(), 5);
    scheduler.read_clock();  // of what was resumed
    CHECK(log.lines() == 0);
}

TEST_CASE("a quick service is not named") {
    bool quickly = false;
    for (int tries = 0; tries < 10 && !quickly; ++tries) {  // the machine itself may pause
        const CapturedLog log;
        coro::Scheduler scheduler;
        coro::Scope scope{coro::Context{.scheduler = &scheduler}, &quick};
        const Instant begin = now();
        for (int i = 0; i < 1'000; ++i) scope.spawn(hold(Milliseconds{0}));
        while (!scheduler.empty()) scheduler.run();
        quickly = now() - begin < limits::stall_ms;
        if (quickly) CHECK(log.lines() == 0);
    }
    CHECK(quickly);
}

TEST_CASE("the first report may count several resumptions, the next is exact, then there is rest") {
    const CapturedLog log;
    coro::StallDetector detector;
    const Milliseconds stall = limits::stall_ms;
    CHECK_FALSE(detector.exact(start));
    detector.measured(&slow, 16, start, start + stall);
    CHECK(log.lines() == 1);
    CHECK(detector.exact(start + stall));
    detector.measured(&slow, 1, start + stall, start + 2 * stall);
    CHECK(log.lines() == 2);
    detector.measured(&slow, 1, start + 2 * stall, start + 3 * stall);
    detector.measured(&slow, 1, start + 3 * stall, start + 4 * stall);
    CHECK(log.lines() == 2);
    const Instant later = start + 2 * stall + limits::stall_report_ms;
    detector.measured(nullptr, 1, later, later + stall);
    CHECK(log.lines() == 3);
    CHECK(log.text().find("no service") != std::string::npos);
    CHECK(log.text().find("2 more") != std::string::npos);
    CHECK_FALSE(detector.exact(later + stall + limits::stall_exact_ms));
}

TEST_CASE("a stretch that is just short of a stall is none") {
    const CapturedLog log;
    coro::StallDetector detector;
    detector.measured(&slow, 16, start, start + limits::stall_ms - std::chrono::nanoseconds{1});
    CHECK(log.lines() == 0);
    CHECK_FALSE(detector.exact(start));
}
