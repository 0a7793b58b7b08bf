// Timers end the loop's wait, whoever sees to it: the limit of one wait, or an alarm of the ring,
// which is set when a second wait in a row needs it. What ends the waits before that is a chat.
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;

namespace {

/// A socket whose other end is at hand.
struct Line {
    explicit Line(Loop& loop) : Line{loop, testing::socket_pair()} {}
    uring::Socket near;
    Fd far;

private:
    Line(Loop& loop, std::pair<Fd, Fd> ends)
        : near{loop, std::move(ends.first)}, far{std::move(ends.second)} {}
};

/// Ends so many waits of the loop by bytes that arrive.
Task<> chat(Line& line, int rounds) {
    for (int i = 0; i < rounds; ++i) {
        testing::put(line.far, "x");
        const auto chunk = co_await line.near.receive();
        ensure(chunk.has_value() && !chunk->empty(), "nothing arrives");
    }
}

/// Sleeps until `due`, and says how much too early it went on.
Task<> sleep_until(Instant due, Instant::duration& early) {
    (void)co_await coro::sleep_until(due);
    early += std::max(Instant::duration{}, due - now());
}

/// Chats while a timer is armed, then waits for it in silence; returns how early it was.
Task<Instant::duration> sleep_beside_chat(Line& line, Milliseconds duration) {
    coro::Scope scope{co_await coro::current_context()};
    Instant::duration early{};
    scope.spawn(sleep_until(now() + duration, early));
    co_await chat(line, 5);
    co_await scope.join();
    co_return early;
}

/// Runs `body` in a process whose monotonic clock is so many seconds ahead of the machine's;
/// returns its exit code, or -1 when this process may not make a time namespace.
template <class Body>
int with_clock_ahead(int seconds, Body body) {
    const pid_t outer = ::fork();
    if (outer == 0) {
        if (::unshare(CLONE_NEWTIME) != 0) ::_exit(100);
        const Fd offsets{::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC)};
        const std::string text = "monotonic " + std::to_string(seconds) + " 0\n";
        if (!offsets || ::write(offsets.get(), text.data(), text.size()) < 0) ::_exit(100);
        const pid_t inner = ::fork();
        if (inner == 0) {
            ::alarm(10);  // ends it if nothing else does
            ::_exit(body());
        }
        int status = 0;
        ::waitpid(inner, &status, 0);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 101);
    }
    int status = 0;
    ::waitpid(outer, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 101;
    return code == 100 ? -1 : code;
}

Task<> sleep_for_an_hour() {
    (void)co_await coro::sleep_for(std::chrono::hours{1});
}

}  // namespace

TEST_CASE("a timer ends a silence that follows waits that it did not end") {
    const auto mode = GENERATE(uring::RingMode::deferred_no_array, uring::RingMode::deferred,
                               uring::RingMode::cooperative);
    auto loop = Loop::open({.features = {.mode = mode}}).value();
    Line line{*loop};
    CHECK(loop->run(sleep_beside_chat(line, Milliseconds{40})) == Instant::duration{});
}

TEST_CASE("a timer does not cost a completion for each wait, nor a second one when it is due") {
    auto loop = Loop::open().value();
    Line line{*loop};
    loop->run(chat(line, 2));
    const auto before = loop->statistics().completions;
    CHECK(loop->run(sleep_beside_chat(line, Milliseconds{40})) == Instant::duration{});
    // Five messages, and at most one alarm.
    CHECK(loop->statistics().completions - before >= 5);
    CHECK(loop->statistics().completions - before <= 6);
}

TEST_CASE("an alarm left over from one run of the loop does not disturb the next") {
    auto loop = Loop::open().value();
    Line line{*loop};
    auto disturbed = [](Line& on) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        Instant::duration early{};
        scope.spawn(sleep_until(now() + Milliseconds{20}, early));
        co_await chat(on, 5);
        scope.cancel();
        co_await scope.join();
    };
    loop->run(disturbed(line));
    const auto turns = loop->statistics().turns;
    auto silence = []() -> Task<Instant::duration> {
        Instant::duration early{};
        co_await sleep_until(now() + Milliseconds{60}, early);
        co_return early;
    };
    CHECK(loop->run(silence()) == Instant::duration{});
    CHECK(loop->statistics().turns - turns < 10);
    CHECK(loop->run(sleep_beside_chat(line, Milliseconds{40})) == Instant::duration{});
}

TEST_CASE("an alarm is not lost among completions that do not fit the queue") {
    auto loop = Loop::open({.submissions = 8, .completions = 8}).value();
    Line line{*loop};
    std::vector<std::unique_ptr<Line>> crowd;
    for (int i = 0; i < 100; ++i) crowd.push_back(std::make_unique<Line>(*loop));
    auto body = [](Line& on, std::vector<std::unique_ptr<Line>>& all) -> Task<Instant::duration> {
        coro::Scope scope{co_await coro::current_context()};
        Instant::duration early{};
        scope.spawn(sleep_until(now() + Milliseconds{30}, early));
        co_await chat(on, 5);
        for (auto& one : all) scope.spawn(chat(*one, 3));
        ::usleep(40'000);  // the alarm and what the chats put arrive together
        co_await scope.join();
        co_return early + co_await sleep_beside_chat(on, Milliseconds{20});
    };
    CHECK(loop->run(body(line, crowd)) == Instant::duration{});
}

TEST_CASE("an earlier timer is not kept waiting by the alarm for a later one") {
    auto loop = Loop::open().value();
    Line line{*loop};
    auto body = [](Line& on) -> Task<Instant::duration> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(sleep_for_an_hour());
        co_await chat(on, 5);
        Instant::duration early{};
        for (const int ms : {50, 20, 5, 30}) {
            early += co_await sleep_beside_chat(on, Milliseconds{ms});
            (void)co_await coro::sleep_for(Milliseconds{ms});  // in silence from the beginning
        }
        scope.cancel();
        co_await scope.join();
        co_return early;
    };
    CHECK(loop->run(body(line)) == Instant::duration{});
}

TEST_CASE("a receive's limit counts from its beginning, also where the last one's alarm is set") {
    auto loop = Loop::open().value();
    Line line{*loop};
    auto body = [](Line& on) -> Task<Instant::duration> {
        constexpr Milliseconds limit{30};
        Instant begun{};
        for (int i = 0; i < 10; ++i) {
            if (i < 9) testing::put(on.far, "x");
            begun = on.near.loop().scheduler().time();  // limits begin with the turn
            const auto chunk = co_await on.near.receive(limit);
            ensure(chunk.has_value() == (i < 9), "it is not the silence that ends by the limit");
            if (!chunk) ensure(chunk.error().is(std::errc::timed_out), "another error");
            ::usleep(2'000);
        }
        co_return std::max(Instant::duration{}, begun + limit - now());
    };
    CHECK(loop->run(body(line)) == Instant::duration{});
}

TEST_CASE("alarms that pass while they are moved are set again") {
    auto loop = Loop::open().value();
    Line line{*loop};
    auto body = [](Line& on) -> Task<Instant::duration> {
        coro::Scope scope{co_await coro::current_context()};
        Instant::duration early{};
        auto late = [](Instant::duration& out) -> Task<> {
            for (int i = 0; i < 100; ++i) co_await sleep_until(now() + Milliseconds{3}, out);
        };
        scope.spawn(late(early));
        for (int i = 0; i < 100; ++i) {
            early += co_await sleep_beside_chat(on, Milliseconds{1 + i % 3});
            co_await chat(on, i % 7);
        }
        co_await scope.join();
        co_return early;
    };
    CHECK(loop->run(body(line)) == Instant::duration{});
}

TEST_CASE("timers are kept where the clock is not the machine's") {
    const int seconds = GENERATE(1'000, -10);
    const int code = with_clock_ahead(seconds, [] {
        auto loop = Loop::open().value();
        Line line{*loop};
        for (int i = 0; i < 5; ++i)
            if (loop->run(sleep_beside_chat(line, Milliseconds{40})) != Instant::duration{})
                return 1;
        // 5 rounds of a chat and a silence: a loop that spins has thousands of turns.
        return loop->statistics().turns < 200 ? 0 : 2;
    });
    if (code == -1) SKIP("this process may not make a time namespace");
    CHECK(code == 0);
}

TEST_CASE("a clock that is not the machine's is told as a shortcoming, if a ring minds") {
    if (Loop::open().value()->backend() != uring::Backend::io_uring) SKIP("no io_uring here");
    const auto lines = [] {
        int count = 0;
        for (const std::string& text : Loop::open().value()->shortcomings())
            count += text.starts_with("the clock of this time namespace") ? 1 : 0;
        return count;
    };
    CHECK(lines() == 0);
    const int code = with_clock_ahead(1'000, lines);
    if (code == -1) SKIP("this process may not make a time namespace");
    CHECK(code == 1);
}
