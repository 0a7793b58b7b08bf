#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "../coro/death.h"
#include "sockets.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using testing::read_now;
using uring::Loop;
using uring::Socket;

namespace {

constexpr Milliseconds soon{20};

/// A socket that bytes come in by, and one that they are posted to; with their peers.
struct Bench {
    explicit Bench(Loop& loop) : Bench{loop, testing::socket_pair(), testing::socket_pair()} {}
    Bench(Loop& loop, std::pair<Fd, Fd> from, std::pair<Fd, Fd> to)
        : source{std::move(from.second)},
          in{loop, std::move(from.first)},
          out{loop, std::move(to.first)},
          sink{std::move(to.second)} {}
    Fd source;
    Socket in;
    Socket out;
    Fd sink;
};

std::string numbered(std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; text.size() < bytes; ++i) text += std::to_string(i) + ' ';
    text.resize(bytes);
    return text;
}

/// Reads until all that was posted is sent.
Task<std::string> drain(Socket& socket, const Fd& sink) {
    std::string got;
    while (socket.unsent() > 0) {
        got += read_now(sink);
        (void)co_await socket.flush(Milliseconds{1});
    }
    co_return got + read_now(sink);
}

Task<uring::Lease> receive(Bench& bench, std::string_view text) {
    put(bench.source, text);
    co_return (co_await bench.in.receive()).value();
}

/// Posts until there is no room; returns what was taken.
Task<std::string> fill(Bench& bench) {
    const std::string chunk = numbered(32 << 10);
    std::string taken;
    for (;;) {
        auto lease = co_await receive(bench, chunk);
        const std::string text{lease.text()};
        const auto posted = co_await bench.out.post(std::move(lease), soon);
        if (!posted) {
            CHECK(posted.error().is(std::errc::timed_out));
            co_return taken;
        }
        taken += text;
    }
}

template <class Body>
void with_bench(Body body) {
    auto loop = Loop::open().value();
    {
        Bench bench{*loop};
        loop->run(body(*loop, bench));
    }
    CHECK(loop->buffers().leased() == 0);
}

}  // namespace

TEST_CASE("what is posted in one turn goes out whole and in order, without waiting") {
    with_bench([](Loop& on, Bench& bench) -> Task<> {
        std::string expected;
        for (int i = 0; i < 5; ++i) {
            auto lease = co_await receive(bench, "piece " + std::to_string(i) + ";");
            expected += lease.text();
            const auto turns = on.statistics().turns;
            REQUIRE(co_await bench.out.post(std::move(lease)));
            CHECK(on.statistics().turns == turns);
        }
        REQUIRE(co_await bench.out.flush());
        CHECK(bench.out.unsent() == 0);
        CHECK(read_now(bench.sink) == expected);
    });
}

TEST_CASE("a flush of nothing does not wait, and leaves nothing behind") {
    with_bench([](Loop& on, Bench& bench) -> Task<> {
        const auto turns = on.statistics().turns;
        CHECK(co_await bench.out.flush());
        CHECK(co_await bench.out.post(uring::Lease{}));
        CHECK(on.statistics().turns == turns);
    });
}

TEST_CASE("a post waits while much is on its way; one that was taken is sent, the other is not") {
    with_bench([](Loop&, Bench& bench) -> Task<> {
        const std::string taken = co_await fill(bench);
        CHECK(bench.out.unsent() >= limits::send_behind.count);
        CHECK(bench.out.unsent() < limits::send_behind.count + (64 << 10));
        CHECK((co_await bench.out.flush(soon)).error().is(std::errc::timed_out));
        const std::string got = co_await drain(bench.out, bench.sink);
        CHECK(got == taken);
    });
}

TEST_CASE("a post that waits goes on when there is room, and not before") {
    with_bench([](Loop&, Bench& bench) -> Task<> {
        std::string taken = co_await fill(bench);
        auto lease = co_await receive(bench, "the last");
        taken += lease.text();
        std::string got;
        auto read_on = [](Bench& from, std::string& out) -> Task<> {
            while (from.out.unsent() >= limits::send_behind.count) {
                out += read_now(from.sink);
                (void)co_await coro::sleep_for(Milliseconds{1});
            }
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(read_on(bench, got));
        CHECK(co_await bench.out.post(std::move(lease)));
        co_await scope.join();
        got += co_await drain(bench.out, bench.sink);
        CHECK(got == taken);
    });
}

TEST_CASE("a small post to a full socket is sent when the peer has read") {
    with_bench([](Loop& on, Bench& bench) -> Task<> {
        std::string before(1 << 20, 'x');
        const ssize_t filled =
            ::send(bench.out.fd(), before.data(), before.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        REQUIRE(filled > 0);
        while (::send(bench.out.fd(), "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) {
        }
        auto lease = co_await receive(bench, "after all");
        REQUIRE(co_await bench.out.post(std::move(lease)));
        (void)co_await on.sleep(Milliseconds{1});
        CHECK(bench.out.unsent() == 9);
        const std::string got = co_await drain(bench.out, bench.sink);
        CHECK(got.ends_with("after all"));
    });
}

TEST_CASE("a failure is told to the hook at once, and to every later post and flush") {
    struct Hook : uring::SendFailureHook {
        Hook()
            : SendFailureHook{[](SendFailureHook& self, const Error& error) noexcept {
                  static_cast<Hook&>(self).told.emplace(error);
              }} {}
        std::optional<Error> told;
    };
    with_bench([](Loop&, Bench& bench) -> Task<> {
        Hook hook;
        bench.out.on_send_failure(&hook);
        bench.sink.close();
        REQUIRE(co_await bench.out.post(co_await receive(bench, "into the void")));
        CHECK_FALSE(hook.told);
        CHECK((co_await bench.out.flush()).error().is(std::errc::broken_pipe));
        REQUIRE(hook.told);
        CHECK(hook.told->is(std::errc::broken_pipe));
        const auto again = co_await bench.out.post(co_await receive(bench, "again"));
        CHECK(again.error().is(std::errc::broken_pipe));
        CHECK((co_await bench.out.flush()).error().is(std::errc::broken_pipe));
        CHECK(bench.out.unsent() == 13);
        bench.out.on_send_failure(nullptr);
    });
}

TEST_CASE("a socket that ends with posts in the kernel keeps its bytes until the kernel lets go") {
    with_bench([](Loop& on, Bench& bench) -> Task<> {
        (void)co_await fill(bench);
        CHECK(on.buffers().leased() > 0);
        bench.out.close();
        CHECK(on.buffers().leased() > 0);
        while (on.buffers().leased() > 0) (void)co_await on.sleep(Milliseconds{1});
    });
}

TEST_CASE("a socket that ends sends what was posted in the same turn, as far as there is room") {
    with_bench([](Loop& on, Bench& bench) -> Task<> {
        REQUIRE(co_await bench.out.post(co_await receive(bench, "a last word")));
        bench.out.close();
        (void)co_await on.sleep(Milliseconds{1});
        CHECK(on.buffers().leased() == 0);
        CHECK(read_now(bench.sink) == "a last word");
        CHECK(::recv(bench.sink.get(), nullptr, 0, MSG_DONTWAIT | MSG_PEEK) == 0);
    });
}

TEST_CASE("a socket that ends when its loop does not run sends nothing and gives everything back") {
    auto loop = Loop::open().value();
    Bench bench{*loop};
    loop->run([](Bench& sockets) -> Task<> {
        (void)co_await sockets.out.post(co_await receive(sockets, "too late"));
    }(bench));
    CHECK(loop->buffers().leased() > 0);
    bench.out.close();
    CHECK(loop->buffers().leased() == 0);
    CHECK(read_now(bench.sink).empty());
}

TEST_CASE("a send past what was posted aborts") {
    const auto text = testing::death_of([] {
        with_bench([](Loop&, Bench& bench) -> Task<> {
            (void)co_await bench.out.post(co_await receive(bench, "first"));
            (void)co_await bench.out.send_all(std::as_bytes(std::span{"second"}));
        });
    });
    CHECK(text.find("flush first") != std::string::npos);
}

TEST_CASE("a socket takes what is on its way along when it moves") {
    with_bench([](Loop&, Bench& bench) -> Task<> {
        const std::string taken = co_await fill(bench);
        Socket moved = std::move(bench.out);
        CHECK(bench.out.unsent() == 0);
        const std::string got = co_await drain(moved, bench.sink);
        CHECK(got == taken);
    });
}

TEST_CASE("a post that waits is cancelled with its task, and what was taken is still sent") {
    with_bench([](Loop& on, Bench& bench) -> Task<> {
        const std::string taken = co_await fill(bench);
        std::optional<Result<void>> outcome;
        auto post = [](Bench& to, std::optional<Result<void>>& out) -> Task<> {
            auto lease = co_await receive(to, "too much");
            out.emplace(co_await to.out.post(std::move(lease)));
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(post(bench, outcome));
        (void)co_await on.sleep(Milliseconds{2});
        CHECK_FALSE(outcome);
        scope.cancel();
        co_await scope.join();
        REQUIRE(outcome);
        CHECK(outcome->error().is(std::errc::operation_canceled));
        const std::string got = co_await drain(bench.out, bench.sink);
        CHECK(got == taken);
    });
}

TEST_CASE("a task that only posts what is there lets others go on") {
    with_bench([](Loop&, Bench& bench) -> Task<> {
        bool stop = false;
        auto end = [](bool& flag) -> Task<> {
            flag = true;
            co_return;
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(end(stop));
        while (!stop) REQUIRE(co_await bench.out.post(uring::Lease{}));
        co_await scope.join();
    });
}
