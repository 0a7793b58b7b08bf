#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;

#include "death.h"
#include "drive.h"

using namespace ringfort;
using coro::Task;

namespace {

Result<int> number(bool good) {
    if (good) return 7;
    return Error{"count", std::errc::timed_out};
}

Task<Result<int>> later(bool good, coro::Event* event = nullptr) {
    if (event != nullptr) co_await co_await event->wait();
    co_return number(good);
}

/// Notes its end.
struct Trace {
    std::vector<std::string>* log;
    std::string name;
    Trace(std::vector<std::string>& to, std::string text) : log{&to}, name{std::move(text)} {}
    Trace(Trace&& other) noexcept
        : log{std::exchange(other.log, nullptr)}, name{std::move(other.name)} {}
    ~Trace() {
        if (log != nullptr) log->push_back(name);
    }
};

Task<Result<int>> inner(std::vector<std::string>& log, bool good, Trace argument) {
    const Trace outer_local{log, "outer local"};
    {
        const Trace inner_local{log, "inner local"};
        const int value = co_await co_await later(good);
        log.push_back("rest");
        co_return value + 1;
    }
}

Task<Result<int>> outer(std::vector<std::string>& log, bool good) {
    const auto outcome = co_await inner(log, good, Trace{log, "argument"});
    log.push_back("awaiter");
    co_return co_await outcome;
}

}  // namespace

TEST_CASE("awaiting a good result yields its value") {
    coro::Scheduler scheduler;
    std::vector<std::string> log;
    const auto outcome = testing::run(scheduler, outer(log, true));
    REQUIRE(outcome);
    CHECK(*outcome == 8);
    CHECK(log.front() == "rest");
}

TEST_CASE("awaiting a failed result ends the task: locals, then arguments, then the awaiter") {
    coro::Scheduler scheduler;
    std::vector<std::string> log;
    const auto outcome = testing::run(scheduler, outer(log, false));
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().is(std::errc::timed_out));
    CHECK(outcome.error().step() == "count");
    CHECK(log == std::vector<std::string>{"inner local", "outer local", "argument", "awaiter"});
}

TEST_CASE("an early end passes through tasks that had suspended") {
    coro::Scheduler scheduler;
    coro::Event event;
    auto middle = [](coro::Event& signal, bool good) -> Task<Result<std::unique_ptr<int>>> {
        const int value = co_await co_await later(good, &signal);
        co_return std::make_unique<int>(value);
    };
    for (const bool good : {true, false}) {
        std::optional<Result<std::unique_ptr<int>>> out;
        testing::Running running{scheduler, testing::keep(middle(event, good), out)};
        CHECK_FALSE(running.done());
        event.set();
        scheduler.run(testing::plenty);
        event.reset();
        REQUIRE(running.done());
        CHECK(out->has_value() == good);
        if (good) CHECK(*out->value() == 7);
    }
}

TEST_CASE("a result that is awaited by name keeps its value, a temporary gives it away") {
    coro::Scheduler scheduler;
    auto body = []() -> Task<Result<int>> {
        Result<std::unique_ptr<int>> named{std::make_unique<int>(1)};
        *co_await named += 1;
        const Result<int> constant{3};
        const int sum = **named + co_await constant;
        const auto moved = co_await std::move(named);
        co_await Result<void>{};
        co_return sum + *moved;
    };
    CHECK(testing::run(scheduler, body()).value() == 7);
}

TEST_CASE("misused tasks end the process with a message") {
    const auto trivial = []() -> Task<> { co_return; };
    CHECK(testing::death_of([&] {
              coro::Scheduler scheduler;
              auto task = trivial();
              auto other = std::move(task);
              testing::Running running{scheduler, std::move(task)};
          }).find("used after it was moved from") != std::string::npos);
    CHECK(testing::death_of([&] {
              coro::Scheduler scheduler;
              auto twice = [](Task<> task) -> Task<> {
                  co_await std::move(task);
                  co_await std::move(task);
              };
              testing::Running running{scheduler, twice(trivial())};
          }).find("awaited twice") != std::string::npos);
    CHECK(testing::death_of([&] {
              coro::Scheduler scheduler;
              coro::Scope scope{coro::Context{.scheduler = &scheduler}};
              auto task = trivial();
              auto other = std::move(task);
              scope.spawn(std::move(task));
          }).find("used after it was moved from") != std::string::npos);
}
