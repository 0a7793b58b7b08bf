#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
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

Task<Result<int>> after(Milliseconds time, int value, int* ended = nullptr) {
    const auto slept = co_await coro::sleep_for(time);
    if (ended != nullptr) ++*ended;
    co_await slept;
    co_return value;
}

Task<> throw_after(Milliseconds time, const char* what) {
    (void)co_await coro::sleep_for(time);
    throw std::runtime_error{what};
}

/// Runs a task and returns the text of what it throws.
template <class T>
Task<std::string> caught(Task<T> task) {
    try {
        (void)co_await std::move(task);
    } catch (const std::exception& exception) {
        co_return exception.what();
    }
    co_return "nothing";
}

}  // namespace

TEST_CASE("all values come together, in order, whatever the order of the ends") {
    coro::Scheduler scheduler;
    auto text = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
    auto nothing = []() -> Task<> { co_return; };
    const Instant begin = scheduler.time();
    const auto [first, second, third, fourth] = testing::run(
        scheduler,
        coro::when_all(after(Milliseconds{20}, 1), after(Milliseconds{10}, 2), text(), nothing()));
    CHECK(first.value() == 1);
    CHECK(second.value() == 2);
    CHECK(*third == 3);
    CHECK(fourth == std::monostate{});
    CHECK(scheduler.time() - begin <= Milliseconds{22});
}

TEST_CASE("an error of one does not stop the others") {
    coro::Scheduler scheduler;
    auto failing = []() -> Task<Result<int>> { co_return Error{"fail", std::errc::io_error}; };
    const auto [first, second] =
        testing::run(scheduler, coro::when_all(failing(), after(Milliseconds{10}, 2)));
    CHECK(first.error().is(std::errc::io_error));
    CHECK(second.value() == 2);
}

TEST_CASE("an exception of one cancels the others and comes when they have ended") {
    coro::Scheduler scheduler;
    int ended = 0;
    const Instant begin = scheduler.time();
    CHECK(testing::run(scheduler, caught(coro::when_all(
                                      after(Milliseconds{500}, 1, &ended),
                                      throw_after(Milliseconds{5}, "first"),
                                      throw_after(Milliseconds{600}, "second")))) == "first");
    CHECK(ended == 1);
    CHECK(scheduler.time() - begin <= Milliseconds{10});
}

TEST_CASE("all of a vector, and of an empty one") {
    coro::Scheduler scheduler;
    std::vector<Task<Result<int>>> tasks;
    for (int i = 0; i < 50; ++i) tasks.push_back(after(Milliseconds{50 - i}, i));
    const auto values = testing::run(scheduler, coro::when_all(std::move(tasks)));
    REQUIRE(values.size() == 50);
    for (int i = 0; i < 50; ++i) CHECK(values[static_cast<std::size_t>(i)].value() == i);
    CHECK(testing::run(scheduler, coro::when_all(std::vector<Task<>>{})).empty());
}

TEST_CASE("the first to end wins, the others are cancelled and awaited") {
    coro::Scheduler scheduler;
    int ended = 0;
    const Instant begin = scheduler.time();
    const auto winner =
        testing::run(scheduler, coro::when_any(after(Milliseconds{500}, 1, &ended),
                                               after(Milliseconds{5}, 2, &ended),
                                               after(Milliseconds{600}, 3, &ended)));
    CHECK(winner.index() == 1);
    CHECK(std::get<1>(winner).value() == 2);
    CHECK(ended == 3);
    CHECK(scheduler.time() - begin <= Milliseconds{10});
}

TEST_CASE("of tasks that end in the same turn the first wins") {
    coro::Scheduler scheduler;
    auto at_once = [](int value) -> Task<int> { co_return value; };
    auto nothing = []() -> Task<> { co_return; };
    const auto winner = testing::run(scheduler, coro::when_any(at_once(1), nothing(), at_once(3)));
    CHECK(winner.index() == 0);
    CHECK(std::get<0>(winner) == 1);
    CHECK(testing::run(scheduler, coro::when_any(nothing(), at_once(3))).index() == 0);
}

TEST_CASE("an exception wins a race like any end, that of a loser is dropped") {
    coro::Scheduler scheduler;
    CHECK(testing::run(scheduler, caught(coro::when_any(after(Milliseconds{50}, 1),
                                                        throw_after(Milliseconds{5}, "won")))) ==
          "won");
    const auto winner = testing::run(
        scheduler,
        coro::when_any(after(Milliseconds{5}, 1), throw_after(Milliseconds{500}, "lost")));
    CHECK(winner.index() == 0);
}

TEST_CASE("the first of a vector") {
    coro::Scheduler scheduler;
    std::vector<Task<Result<int>>> tasks;
    for (int i = 0; i < 20; ++i) tasks.push_back(after(Milliseconds{100 - i}, i));
    const auto winner = testing::run(scheduler, coro::when_any(std::move(tasks)));
    CHECK(winner.index == 19);
    CHECK(winner.value.value() == 19);
    std::vector<Task<>> silent;
    silent.push_back([]() -> Task<> { co_return; }());
    CHECK(testing::run(scheduler, coro::when_any(std::move(silent))).index == 0);
}

TEST_CASE("cancelling who awaits several reaches each of them") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    int ended = 0;
    auto both = [](int* count) -> Task<int> {
        const auto [first, second] = co_await coro::when_all(
            after(Milliseconds{500}, 1, count), [](int* inner) -> Task<bool> {
                const auto winner = co_await coro::when_any(after(Milliseconds{500}, 1, inner),
                                                            after(Milliseconds{600}, 1, inner));
                co_return std::get<0>(winner).error().is(std::errc::operation_canceled);
            }(count));
        co_return first.error().is(std::errc::operation_canceled) && second ? 1 : 0;
    };
    std::optional<int> outcome;
    testing::Running running{scheduler, testing::keep(both(&ended), outcome), &cancel};
    testing::pass(scheduler, 3);
    cancel.request();
    testing::pass(scheduler, 1);
    CHECK(outcome == 1);
    CHECK(ended == 3);
}
