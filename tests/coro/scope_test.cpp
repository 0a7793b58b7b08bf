#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <stdexcept>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;

namespace {

Task<> count_after(coro::Event& event, int& finished, int& cancelled) {
    const auto waited = co_await event.wait();
    ++(waited ? finished : cancelled);
}

struct Counts {
    int finished = 0;
    int cancelled = 0;
    bool joined = false;
};

Task<> spawn_and_join(coro::Event& event, Counts& counts, int children, coro::Scope*& out) {
    coro::Scope scope{co_await coro::current_context()};
    out = &scope;
    for (int i = 0; i < children; ++i)
        scope.spawn(count_after(event, counts.finished, counts.cancelled));
    co_await scope.join();
    counts.joined = true;
    out = nullptr;
}

}  // namespace

TEST_CASE("a scope joins when its last task has ended") {
    coro::Scheduler scheduler;
    coro::Event event;
    Counts counts;
    coro::Scope* scope = nullptr;
    testing::Running running{scheduler, spawn_and_join(event, counts, 3, scope)};
    scheduler.run(testing::plenty);
    CHECK(scope->size() == 3);
    CHECK_FALSE(counts.joined);
    event.set();
    scheduler.run(testing::plenty);
    CHECK(counts.finished == 3);
    CHECK(counts.joined);
    CHECK(running.done());
}

TEST_CASE("cancelling a scope reaches its tasks and still waits for them") {
    coro::Scheduler scheduler;
    coro::Event event;
    Counts counts;
    coro::Scope* scope = nullptr;
    testing::Running running{scheduler, spawn_and_join(event, counts, 3, scope)};
    scheduler.run(testing::plenty);
    scope->cancel();
    CHECK_FALSE(counts.joined);
    scheduler.run(testing::plenty);
    CHECK(counts.cancelled == 3);
    CHECK(counts.joined);
}

TEST_CASE("cancelling the awaiting task cancels its scope") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    coro::Event event;
    Counts counts;
    coro::Scope* scope = nullptr;
    testing::Running running{scheduler, spawn_and_join(event, counts, 2, scope), &cancel};
    scheduler.run(testing::plenty);
    cancel.request();
    scheduler.run(testing::plenty);
    CHECK(counts.cancelled == 2);
    CHECK(running.done());
}

TEST_CASE("joining an empty scope does not suspend") {
    coro::Scheduler scheduler;
    coro::Event event;
    Counts counts;
    coro::Scope* scope = nullptr;
    testing::Running running{scheduler, spawn_and_join(event, counts, 0, scope)};
    CHECK(running.done());
}

TEST_CASE("a hundred thousand tasks of one scope all end") {
    coro::Scheduler scheduler;
    coro::Event event;
    Counts counts;
    coro::Scope* scope = nullptr;
    testing::Running running{scheduler, spawn_and_join(event, counts, 100'000, scope)};
    scheduler.run(testing::plenty);
    event.set();
    scheduler.run(testing::plenty);
    CHECK(counts.finished == 100'000);
    CHECK(running.done());
}

TEST_CASE("a task under another source is cancelled by that one") {
    coro::Scheduler scheduler;
    coro::Event event;
    coro::CancelSource source;
    auto body = [](coro::Event& waited, coro::CancelSource& limit, bool& ended) -> Task<> {
        auto inner = [](coro::Event& signal) -> Task<Result<void>> {
            co_return co_await signal.wait();
        };
        const auto outcome = co_await inner(waited).under(limit);
        ended = !outcome && outcome.error().is(std::errc::operation_canceled);
    };
    bool ended = false;
    testing::Running running{scheduler, body(event, source, ended)};
    source.request();
    scheduler.run(testing::plenty);
    CHECK(ended);
}
