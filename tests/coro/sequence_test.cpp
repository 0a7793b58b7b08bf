#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <memory>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;
using Value = std::shared_ptr<int>;
using Sequence = coro::Sequence<Value>;

namespace {

Task<> consume(Sequence& sequence, std::vector<int>& out, std::optional<Result<void>>& end) {
    for (;;) {
        auto value = co_await sequence.next();
        if (!value) {
            end = value.error();
            co_return;
        }
        if (!*value) break;
        out.push_back(***value);
    }
    end = Result<void>{};
}

}  // namespace

TEST_CASE("a sequence delivers what was pushed before and while somebody waits, then its end") {
    coro::Scheduler scheduler;
    Sequence sequence;
    std::vector<int> out;
    std::optional<Result<void>> end;
    for (int i = 0; i < 20; ++i) REQUIRE(sequence.push(std::make_shared<int>(i)));
    testing::Running running{scheduler, consume(sequence, out, end)};
    CHECK(out.size() == 20);
    for (int i = 20; i < 50; ++i) REQUIRE(sequence.push(std::make_shared<int>(i)));
    sequence.finish({});
    CHECK(sequence.finished());
    scheduler.run();
    REQUIRE(end);
    CHECK(end->has_value());
    REQUIRE(out.size() == 50);
    for (int i = 0; i < 50; ++i) CHECK(out[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("the error a sequence is finished with comes after its values") {
    coro::Scheduler scheduler;
    Sequence sequence;
    REQUIRE(sequence.push(std::make_shared<int>(1)));
    sequence.finish(Error{"produce", std::errc::connection_reset});
    sequence.finish({});
    std::vector<int> out;
    std::optional<Result<void>> end;
    testing::Running running{scheduler, consume(sequence, out, end)};
    CHECK(out == std::vector{1});
    REQUIRE(end);
    CHECK(end->error().is(std::errc::connection_reset));
}

TEST_CASE("a cancelled consumer loses nothing: the sequence goes on") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    Sequence sequence;
    std::vector<int> out;
    std::optional<Result<void>> end;
    testing::Running first{scheduler, consume(sequence, out, end), &cancel};
    REQUIRE(sequence.push(std::make_shared<int>(1)));
    cancel.request();
    REQUIRE(sequence.push(std::make_shared<int>(2)));
    scheduler.run();
    REQUIRE(first.done());
    CHECK(end->error().is(std::errc::operation_canceled));
    testing::Running second{scheduler, consume(sequence, out, end)};
    CHECK(out == std::vector{1, 2});
    sequence.finish({});
    scheduler.run();
    CHECK(second.done());
}

TEST_CASE("values that nobody consumes are destroyed with the sequence") {
    const auto value = std::make_shared<int>(1);
    {
        Sequence sequence;
        for (int i = 0; i < 30; ++i) CHECK(sequence.push(Value{value}));
        CHECK(sequence.size() == 30);
        CHECK(value.use_count() == 31);
    }
    CHECK(value.use_count() == 1);
}

TEST_CASE("a reserved sequence keeps its place in memory and its order when it wraps") {
    coro::Scheduler scheduler;
    Sequence sequence;
    REQUIRE(sequence.reserve(3));
    std::vector<int> out;
    for (int round = 0; round < 10; ++round) {
        REQUIRE(sequence.push(std::make_shared<int>(2 * round)));
        REQUIRE(sequence.push(std::make_shared<int>(2 * round + 1)));
        auto take = [](Sequence& from, std::vector<int>& to) -> Task<> {
            for (int i = 0; i < 2; ++i) to.push_back(**(co_await from.next()).value());
        };
        testing::Running running{scheduler, take(sequence, out)};
        CHECK(running.done());
    }
    for (int i = 0; i < 20; ++i) CHECK(out[static_cast<std::size_t>(i)] == i);
}
