#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "relay_chain.h"

using namespace ringfort;
using coro::Task;
using testing::Chain;
using testing::run_relay;

namespace {

Task<std::string> read_all(net::Stream& stream) {
    std::string text;
    for (;;) {
        auto chunk = co_await stream.receive();
        if (!chunk || chunk->empty()) co_return text;
        text += chunk->text();
    }
}

Task<> write_all_then_close(net::Stream& stream, const std::string& text) {
    (void)co_await stream.send_all(text);
    (void)stream.shutdown_write();
}

std::string pattern(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>((seed = seed * 1'664'525 + 1'013'904'223) >> 24);
    return text;
}

}  // namespace

TEST_CASE("a relay moves megabytes both ways at once and counts them") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop};
    const std::string up = pattern(4 << 20, 1);
    const std::string down = pattern(3 << 20, 2);
    auto body = [](uring::Loop& on, Chain& c, const std::string& a,
                   const std::string& b) -> Task<bool> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        scope.spawn(write_all_then_close(c.client, a));
        scope.spawn(write_all_then_close(c.server, b));
        std::string at_client, at_server;
        auto keep = [](net::Stream& from, std::string& out) -> Task<> {
            out = co_await read_all(from);
        };
        scope.spawn(keep(c.client, at_client));
        scope.spawn(keep(c.server, at_server));
        co_await scope.join();
        co_return at_server == a&& at_client == b;
    };
    CHECK(loop->run(body(*loop, chain, up, down)));
    REQUIRE(chain.outcome);
    CHECK(chain.outcome->has_value());
    CHECK(chain.totals.forward == up.size());
    CHECK(chain.totals.backward == down.size());
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("a half-close is passed on and the other direction goes on") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop};
    auto body = [](uring::Loop& on, Chain& c) -> Task<std::string> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        co_await write_all_then_close(c.client, "question");
        const std::string question = co_await read_all(c.server);
        co_await write_all_then_close(c.server, "answer to " + question);
        const std::string answer = co_await read_all(c.client);
        co_await scope.join();
        co_return answer;
    };
    CHECK(loop->run(body(*loop, chain)) == "answer to question");
    CHECK(chain.outcome->has_value());
}

TEST_CASE("a reader that stops holds the writer back") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop};
    const std::string flood = pattern(16 << 20, 3);
    auto body = [](uring::Loop& on, Chain& c, const std::string& bytes) -> Task<bool> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        scope.spawn(write_all_then_close(c.server, bytes));
        (void)co_await on.sleep(Milliseconds{50});
        const auto moved = c.totals.backward;
        ensure(on.buffers().active() <= 64, "what is held does not stop growing");
        (void)co_await on.sleep(Milliseconds{50});
        ensure(c.totals.backward == moved && moved < bytes.size(), "the writer was not held back");
        ensure(c.client.shutdown_write().has_value(), "shutdown");
        const std::string received = co_await read_all(c.client);
        co_await scope.join();
        co_return received == bytes;
    };
    CHECK(loop->run(body(*loop, chain, flood)));
}

TEST_CASE("a relay on which nothing moves ends with ETIMEDOUT, and one that moves does not") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop};
    auto body = [](uring::Loop& on, Chain& c) -> Task<Milliseconds> {
        coro::Scope scope{co_await coro::current_context()};
        const Instant begin = now();
        scope.spawn(run_relay(on, c, Milliseconds{40}));
        for (int i = 0; i < 6; ++i) {
            (void)co_await on.sleep(Milliseconds{15});
            (void)co_await c.client.send_all("tick");
        }
        co_await scope.join();
        co_return std::chrono::duration_cast<Milliseconds>(now() - begin);
    };
    const Milliseconds took = loop->run(body(*loop, chain));
    CHECK(took >= Milliseconds{90 + 39});
    REQUIRE_FALSE(*chain.outcome);
    CHECK(chain.outcome->error().is(std::errc::timed_out));
}

TEST_CASE("a side that breaks ends the relay and its other side") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop};
    auto body = [](uring::Loop& on, Chain& c) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        (void)co_await on.sleep(Milliseconds{1});
        {
            const net::Stream gone = std::move(c.server);
        }
        (void)co_await c.client.send_all("into the void");
        co_await scope.join();
    };
    loop->run(body(*loop, chain));
    REQUIRE(chain.outcome);
    REQUIRE_FALSE(*chain.outcome);
    CHECK(loop->buffers().leased() == 0);
}
