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
using Value = std::unique_ptr<int>;
using Channel = coro::Channel<Value>;

namespace {

Value make(int number) {
    return std::make_unique<int>(number);
}

Task<> send_range(Channel& channel, int from, int to, int& sent) {
    for (int i = from; i < to; ++i) {
        if (!co_await channel.send(make(i))) co_return;
        ++sent;
    }
}

Task<> receive_all(Channel& channel, std::vector<int>& out, bool& ended) {
    for (;;) {
        auto value = co_await channel.receive();
        if (!value) co_return;
        if (!*value) break;
        out.push_back(***value);
    }
    ended = true;
}

Task<> send_one(Channel& channel, Value& value, std::optional<Result<void>>& outcome) {
    outcome = co_await channel.send(std::move(value));
}

Task<> receive_one(Channel& channel, std::optional<Result<std::optional<Value>>>& outcome) {
    outcome.emplace(co_await channel.receive());
}

}  // namespace

TEST_CASE("values arrive in order, and a full channel holds the sender back") {
    coro::Scheduler scheduler;
    Channel channel{3};
    int sent = 0;
    std::vector<int> out;
    bool ended = false;
    testing::Running sender{scheduler, send_range(channel, 0, 10, sent)};
    CHECK(sent == 3);
    CHECK(channel.size() == 3);
    testing::Running receiver{scheduler, receive_all(channel, out, ended)};
    scheduler.run();
    CHECK(sent == 10);
    CHECK(sender.done());
    CHECK_FALSE(ended);
    channel.close();
    scheduler.run();
    CHECK(ended);
    CHECK(out == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("closing lets the receiver have what is left and tells senders") {
    coro::Scheduler scheduler;
    Channel channel{1};
    Value kept = make(2);
    std::optional<Result<void>> outcome;
    REQUIRE(channel.try_send(make(1)));
    testing::Running sender{scheduler, send_one(channel, kept, outcome)};
    channel.close();
    scheduler.run();
    REQUIRE(outcome);
    CHECK(outcome->error().is(std::errc::broken_pipe));
    CHECK(*kept == 2);
    std::vector<int> out;
    bool ended = false;
    testing::Running receiver{scheduler, receive_all(channel, out, ended)};
    CHECK(ended);
    CHECK(out == std::vector{1});
    Value again = make(3);
    CHECK(channel.try_send(std::move(again)).error().is(std::errc::broken_pipe));
    CHECK(*again == 3);
}

TEST_CASE("a cancelled send leaves the value with the sender") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    Channel channel{1};
    REQUIRE(channel.try_send(make(1)));
    Value kept = make(2);
    std::optional<Result<void>> outcome;
    testing::Running sender{scheduler, send_one(channel, kept, outcome), &cancel};
    cancel.request();
    scheduler.run();
    REQUIRE(outcome);
    CHECK(outcome->error().is(std::errc::operation_canceled));
    REQUIRE(kept);
    CHECK(*kept == 2);
    CHECK(**channel.try_receive() == 1);
    CHECK_FALSE(channel.try_receive());
}

TEST_CASE("a value that was given before the receiver was cancelled is received") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    Channel channel{1};
    std::optional<Result<std::optional<Value>>> outcome;
    testing::Running receiver{scheduler, receive_one(channel, outcome), &cancel};
    REQUIRE(channel.try_send(make(5)));
    cancel.request();
    scheduler.run();
    REQUIRE(outcome);
    CHECK(**outcome->value() == 5);
}

TEST_CASE("a value that was sent before the sender was cancelled counts as sent") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    Channel channel{1};
    REQUIRE(channel.try_send(make(1)));
    Value value = make(2);
    std::optional<Result<void>> outcome;
    testing::Running sender{scheduler, send_one(channel, value, outcome), &cancel};
    CHECK(**channel.try_receive() == 1);
    cancel.request();
    scheduler.run();
    CHECK(outcome->has_value());
    CHECK_FALSE(value);
    CHECK(**channel.try_receive() == 2);
}

TEST_CASE("a cancelled receiver leaves the values to others") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    Channel channel{2};
    std::optional<Result<std::optional<Value>>> first, second, third;
    testing::Running one{scheduler, receive_one(channel, first), &cancel};
    testing::Running two{scheduler, receive_one(channel, second)};
    cancel.request();
    REQUIRE(channel.try_send(make(8)));
    REQUIRE(channel.try_send(make(9)));
    testing::Running three{scheduler, receive_one(channel, third), &cancel};
    scheduler.run();
    CHECK(first->error().is(std::errc::operation_canceled));
    CHECK(**second->value() == 8);
    CHECK(third->error().is(std::errc::operation_canceled));
    CHECK(**channel.try_receive() == 9);
}
