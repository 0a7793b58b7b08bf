#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "../uring/sockets.h"

using namespace ringfort;
using coro::Task;

namespace {

std::pair<Fd, Fd> non_blocking_pair() {
    auto pair = testing::socket_pair();
    for (const Fd* fd : {&pair.first, &pair.second}) (void)::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
    return pair;
}

/// A pipe that is to take from one pair of sockets and to give to another.
struct Plumbing {
    net::PipePool pool;
    std::pair<Fd, Fd> in = non_blocking_pair();
    std::pair<Fd, Fd> out = non_blocking_pair();
    net::Pipe pipe = pool.take().value();
};

}  // namespace

TEST_CASE("a pipe moves what a socket received, and says when there is nothing and when it ended") {
    Plumbing plumbing;
    auto& [pool, in, out, pipe] = plumbing;
    const auto nothing = pipe.fill(in.first.get());
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().is(std::errc::resource_unavailable_try_again));
    REQUIRE(::write(in.second.get(), "hello", 5) == 5);
    CHECK(pipe.fill(in.first.get()).value() == 5);
    CHECK(pipe.size() == 5);
    CHECK(pipe.drain(out.first.get()).value() == 5);
    CHECK(pipe.size() == 0);
    CHECK(pool.filled() == 5);
    char arrived[8];
    REQUIRE(::read(out.second.get(), arrived, sizeof arrived) == 5);
    CHECK(std::string_view{arrived, 5} == "hello");
    ::shutdown(in.second.get(), SHUT_WR);
    CHECK(pipe.fill(in.first.get()).value() == 0);
    CHECK(pool.filled() == 5);
}

TEST_CASE("a pipe with bytes in it is closed, and an empty one is lent again") {
    net::PipePool pool;
    const auto in = non_blocking_pair();
    {
        const auto first = pool.take().value();
    }
    CHECK(pool.idle() == 1);
    {
        auto again = pool.take().value();
        CHECK(pool.idle() == 0);
        REQUIRE(::write(in.second.get(), "left", 4) == 4);
        REQUIRE(again.fill(in.first.get()).value() == 4);
    }
    CHECK(pool.idle() == 0);
    CHECK(pool.lent() == 0);
    CHECK(pool.taken() == 2);
}

TEST_CASE("a pool lends no more pipes than its limit") {
    net::PipePool pool{2};
    const auto first = pool.take().value();
    std::optional second{pool.take().value()};
    const auto third = pool.take();
    REQUIRE_FALSE(third);
    CHECK(third.error().is(std::errc::resource_unavailable_try_again));
    second.reset();
    CHECK(pool.take().has_value());
}

TEST_CASE("sending from a pipe to a peer that has gone is an error and ends no process") {
    Plumbing plumbing;
    auto& [pool, in, out, pipe] = plumbing;
    REQUIRE(::write(in.second.get(), "void", 4) == 4);
    REQUIRE(pipe.fill(in.first.get()).value() == 4);
    out.second.close();
    const auto sent = pipe.drain(out.first.get());
    REQUIRE_FALSE(sent);
    CHECK(sent.error().is(std::errc::broken_pipe));
    CHECK(pipe.size() == 4);
}

TEST_CASE("a ring receives from and sends to a non-blocking socket as to one that waits") {
    auto loop = uring::Loop::open().value();
    auto pair = non_blocking_pair();
    auto body = [](uring::Loop& on, std::pair<Fd, Fd>& ends) -> Task<bool> {
        net::Stream near{on, std::move(ends.first)};
        net::Stream far{on, std::move(ends.second)};
        const std::string text(8 << 20, 'x');
        std::optional<Result<void>> sent;
        auto send = [](net::Stream& to, const std::string& all,
                       std::optional<Result<void>>& out) -> Task<> {
            out.emplace(co_await to.send_all(all));
        };
        auto receive = [](net::Stream& from, std::size_t& got) -> Task<> {
            while (got < 8U << 20) {
                const auto chunk = co_await from.receive();
                if (!chunk || chunk->empty()) co_return;
                got += chunk->size();
            }
        };
        std::size_t got = 0;
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(receive(far, got));
        (void)co_await on.sleep(Milliseconds{5});
        scope.spawn(send(near, text, sent));
        co_await scope.join();
        co_return sent && sent->has_value() && got == text.size();
    };
    CHECK(loop->run(body(*loop, pair)));
}
