#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
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
#include "stream_pair.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using testing::StreamPair;
using uring::Loop;
using uring::Socket;
using Received = std::optional<Result<uring::Lease>>;

namespace {

Task<> receive_into(Socket& socket, Received& out, std::optional<Milliseconds> limit = {}) {
    out.emplace(co_await socket.receive(limit));
}

Task<std::string> read_all(Socket& socket) {
    std::string text;
    for (;;) {
        const auto chunk = co_await socket.receive();
        if (!chunk || chunk->empty()) co_return text;
        text += chunk->text();
    }
}

}  // namespace

TEST_CASE("a receive that is cancelled ends with ECANCELED, and later bytes are not lost") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    auto body = [](Loop& on, StreamPair& sockets, Received& first, Received& second) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(receive_into(sockets.near, first));
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
        put(sockets.far, "late");
        co_await receive_into(sockets.near, second);
    };
    Received first;
    Received second;
    loop->run(body(*loop, pair, first, second));
    CHECK(first->error().is(std::errc::operation_canceled));
    CHECK((*second)->text() == "late");
    second.reset();
}

TEST_CASE("a receive past its time limit ends with ETIMEDOUT, and later bytes are not lost") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    Received out;
    const Instant begin = now();
    loop->run(receive_into(pair.near, out, Milliseconds{20}));
    CHECK(now() - begin >= Milliseconds{19});
    CHECK(out->error().is(std::errc::timed_out));
    put(pair.far, "late");
    loop->run(receive_into(pair.near, out));
    CHECK((*out)->text() == "late");
    out.reset();
}

TEST_CASE("each receive has its own time limit, whether longer or shorter than the one before") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    auto body = [](Loop& on, Socket& socket, const Fd& peer) -> Task<> {
        // A limit that nothing is left of but its timer, which fires early for the next receive.
        put(peer, "one");
        CHECK((co_await socket.receive(Milliseconds{5})).value().text() == "one");
        Instant begin = on.scheduler().time();
        CHECK((co_await socket.receive(Milliseconds{40})).error().is(std::errc::timed_out));
        CHECK(now() - begin >= Milliseconds{40});
        // And one whose timer would fire too late.
        put(peer, "two");
        CHECK((co_await socket.receive(Milliseconds{20'000})).value().text() == "two");
        begin = now();
        CHECK((co_await socket.receive(Milliseconds{10})).error().is(std::errc::timed_out));
        CHECK(now() - begin < Milliseconds{10'000});
        // None at all, with a timer left over.
        put(peer, "three");
        CHECK((co_await socket.receive(Milliseconds{5})).value().text() == "three");
        begin = on.scheduler().time();
        CHECK((co_await coro::timeout(Milliseconds{30}, socket.receive()))
                  .error()
                  .is(std::errc::timed_out));
        CHECK(now() - begin >= Milliseconds{30});
    };
    loop->run(body(*loop, pair.near, pair.far));
}

TEST_CASE("a receive is cancelled by the source it waits under, whichever the last one was") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    auto body = [](Loop& on, StreamPair& sockets) -> Task<> {
        const coro::Context outer = co_await coro::current_context();
        Received cut;
        Received lasting;
        {
            coro::Scope inner{outer};
            inner.spawn(receive_into(sockets.near, cut));
            (void)co_await on.sleep(Milliseconds{1});
            inner.cancel();
            co_await inner.join();
        }
        put(sockets.far, "bytes");
        CHECK((co_await sockets.near.receive()).value().text() == "bytes");
        coro::Scope scope{outer};
        scope.spawn(receive_into(sockets.near, lasting));
        (void)co_await on.sleep(Milliseconds{1});
        CHECK_FALSE(lasting.has_value());
        scope.cancel();
        co_await scope.join();
        CHECK(cut->error().is(std::errc::operation_canceled));
        CHECK(lasting->error().is(std::errc::operation_canceled));
    };
    loop->run(body(*loop, pair));
}

TEST_CASE("an empty lease is the end of the stream, however often it is asked for") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    put(pair.far, "last");
    pair.far.close();
    Received out;
    loop->run(receive_into(pair.near, out));
    CHECK((*out)->text() == "last");
    for (int i = 0; i < 2; ++i) {
        loop->run(receive_into(pair.near, out));
        REQUIRE(*out);
        CHECK((*out)->empty());
    }
    out.reset();
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("what arrives while nobody receives is kept, adjoining pieces as one") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    auto body = [](Loop& on, StreamPair& sockets) -> Task<std::vector<std::string>> {
        std::vector<std::string> texts;
        put(sockets.far, "a");
        for (int i = 0; i < 4; ++i) {
            const auto chunk = co_await sockets.near.receive();
            texts.emplace_back(chunk->text());
            if (i == 3) break;
            put(sockets.far, "b");
            (void)co_await on.sleep(Milliseconds{2});
            put(sockets.far, "c");
            (void)co_await on.sleep(Milliseconds{2});
        }
        co_return texts;
    };
    const std::vector<std::string> texts = loop->run(body(*loop, pair));
    std::string all;
    for (const std::string& text : texts) all += text;
    CHECK(std::string{"abcbcbc"}.starts_with(all));
    CHECK(texts.size() == 4);
    // Where a receive takes a whole buffer, nothing adjoins.
    if (loop->features().incremental_buffers)
        CHECK(texts == std::vector<std::string>{"a", "bc", "bc", "bc"});
}

TEST_CASE("what nobody takes is bounded, and taking it makes the kernel go on") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    constexpr std::size_t total = 8U << 20;
    auto writer = [](Loop& on, Fd& far) -> Task<> {
        std::vector<std::byte> zeros(total);
        (void)co_await on.send_all(far.get(), zeros);
        far.close();
    };
    auto body = [&writer](Loop& on, StreamPair& sockets) -> Task<std::size_t> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(writer(on, sockets.far));
        {
            const auto first = co_await sockets.near.receive();
        }
        (void)co_await on.sleep(Milliseconds{30});
        const std::size_t ahead = sockets.near.receiver().pending();
        ensure(!sockets.near.receiver().armed(), "it goes on receiving");
        ensure(ahead > limits::receive_ahead.count / 2, "it has stopped too early");
        // What no bound was set to may be a burst more before it is told to stop.
        const std::size_t burst = on.features().bounded_receives
                                      ? limits::receive_burst.count
                                      : 32 * limits::receive_buffer_size.count;
        ensure(ahead <= limits::receive_ahead.count + burst, "it has not stopped");
        co_await read_all(sockets.near);
        co_await scope.join();
        co_return ahead;
    };
    CHECK(loop->run(body(*loop, pair)) < total);
}

TEST_CASE(
    "a socket that is destroyed while the kernel receives closes, and its bytes are dropped") {
    auto loop = Loop::open().value();
    auto ends = testing::socket_pair();
    auto body = [](Loop& on, Fd near, const Fd& far) -> Task<> {
        Socket socket{on, std::move(near)};
        put(far, "one");
        {
            const auto chunk = co_await socket.receive();
        }
        put(far, "two");  // on its way while the socket goes
    };
    loop->run(body(*loop, std::move(ends.first), ends.second));
    char byte = 0;
    CHECK(::read(ends.second.get(), &byte, 1) <= 0);  // an end, or a reset for "two"
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("a thousand sockets opened and destroyed at every moment leak nothing") {
    auto loop = Loop::open({.submissions = 16}).value();
    auto one = [](Loop& on, int number) -> Task<> {
        auto ends = testing::socket_pair();
        Socket socket{on, std::move(ends.first)};
        if (number % 2 == 0) put(ends.second, "bytes");
        if (number % 3 == 0) ends.second.close();
        (void)co_await socket.receive(Milliseconds{number % 5});
        if (number % 7 == 0) (void)co_await socket.receive(Milliseconds{1});
        Socket moved{std::move(socket)};
        if (number % 11 == 0) (void)co_await moved.receive(Milliseconds{1});
    };
    auto body = [&one](Loop& on) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        for (int i = 0; i < 1'000; ++i) {
            scope.spawn(one(on, i));
            if (i % 100 == 99) co_await scope.join();
        }
    };
    const RawFd before = ::dup(0);
    ::close(before);
    loop->run(body(*loop));
    const RawFd after = ::dup(0);
    ::close(after);
    CHECK(after == before);
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("the other end's reset is an error of the receive") {
    auto loop = Loop::open().value();
    StreamPair pair{*loop};
    auto body = [](Loop& on, StreamPair& sockets, Received& out) -> Task<> {
        // A unix socket that is closed with bytes unread resets its peer.
        ensure((co_await sockets.near.send_all(std::as_bytes(std::span{"x", 1}))).has_value(),
               "send");
        sockets.far.close();
        (void)on;
        co_await receive_into(sockets.near, out);
    };
    Received out;
    loop->run(body(*loop, pair, out));
    CHECK(out->error().is(std::errc::connection_reset));
}
