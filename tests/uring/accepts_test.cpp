#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "../net/listener.h"

using namespace ringfort;
using coro::Task;
using uring::AcceptStream;
using uring::Loop;

namespace {

/// Connects without waiting for anybody to accept; the handshake is the kernel's.
Fd connect_to(const testing::Listener& listener) {
    Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ensure(::connect(client.get(), listener.address.data(), listener.address.size()) == 0,
           "connect");
    return client;
}

std::vector<Fd> connect_many(const testing::Listener& listener, int count) {
    std::vector<Fd> clients;
    for (int i = 0; i < count; ++i) clients.push_back(connect_to(listener));
    return clients;
}

RawFd lowest_free() {
    const Fd probe{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    return probe.get();
}

/// Tells whether the peer's end is there: open and silent, not closed.
bool is_open(const Fd& client) {
    char byte = 0;
    return ::recv(client.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

}  // namespace

TEST_CASE("an accept stream yields every connection, in whichever order they are awaited") {
    auto loop = Loop::open().value();
    const testing::Listener listener;
    auto body = [](Loop& on, const testing::Listener& at) -> Task<std::size_t> {
        AcceptStream stream{on, at.socket.get()};
        std::vector<Fd> accepted;
        auto clients = connect_many(at, 20);
        for (int i = 0; i < 20; ++i) accepted.push_back((co_await stream.next()).value());
        auto more = [](AcceptStream& from, std::vector<Fd>& into) -> Task<> {
            into.push_back((co_await from.next()).value());
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(more(stream, accepted));
        (void)co_await on.sleep(Milliseconds{1});
        clients.push_back(connect_to(at));
        co_await scope.join();
        co_return accepted.size();
    };
    CHECK(loop->run(body(*loop, listener)) == 21);
}

TEST_CASE("awaiting a connection can be cancelled and limited, and none is lost by it") {
    auto loop = Loop::open().value();
    const testing::Listener listener;
    auto body = [](Loop& on, const testing::Listener& at) -> Task<> {
        AcceptStream stream{on, at.socket.get()};
        const auto late = co_await stream.next(Milliseconds{5});
        ensure(late.error().is(std::errc::timed_out) && late.error().step() == "accept", "limit");
        std::optional<Result<Fd>> out;
        auto next = [](AcceptStream& from, std::optional<Result<Fd>>& into) -> Task<> {
            into.emplace(co_await from.next());
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(next(stream, out));
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
        ensure(out->error().is(std::errc::operation_canceled), "cancel");
        const Fd client = connect_to(at);
        (void)co_await on.sleep(Milliseconds{2});
        ensure(stream.pending() == 1, "accepted while nobody waits");
        const auto accepted = co_await stream.next();
        ensure(accepted.has_value(), "the connection");
        ensure(is_open(client), "the connection is open");
    };
    loop->run(body(*loop, listener));
}

TEST_CASE("the last connections are those that were accepted before the stream was told to end") {
    auto loop = Loop::open().value();
    const testing::Listener listener;
    auto body = [](Loop& on, const testing::Listener& at) -> Task<> {
        AcceptStream stream{on, at.socket.get()};
        auto clients = connect_many(at, 5);
        std::vector<Fd> accepted;
        accepted.push_back((co_await stream.next()).value());
        (void)co_await on.sleep(Milliseconds{1});
        for (;;) {
            auto last = co_await stream.last();
            ensure(last.has_value(), "last");
            if (!*last) break;
            accepted.push_back(**std::move(last));
        }
        ensure(accepted.size() == 5 && !stream.armed(), "all of them, and no more");
        clients.push_back(connect_to(at));
        (void)co_await on.sleep(Milliseconds{2});
        ensure(stream.pending() == 0, "accepted after it was told to end");
        ensure((co_await stream.next()).has_value(), "awaiting one begins anew");
        ensure(!*(co_await stream.last()), "nothing more");
        ensure(!*(co_await stream.last()), "and nothing again");
    };
    loop->run(body(*loop, listener));
}

TEST_CASE(
    "a task that was cancelled in its wait for a connection gets the last ones all the same") {
    auto loop = Loop::open().value();
    const testing::Listener listener;
    auto body = [](Loop& on, const testing::Listener& at) -> Task<> {
        AcceptStream stream{on, at.socket.get()};
        std::size_t accepted = 0;
        auto all = [](AcceptStream& from, std::size_t& count) -> Task<> {
            while (co_await from.next()) ++count;
            // Cancelled, and below the same source as before: what is left does not hear of it.
            for (;;) {
                const auto last = co_await from.last();
                ensure(last.has_value(), "the last were cancelled");
                if (!*last) co_return;
                ++count;
            }
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(all(stream, accepted));
        (void)co_await on.sleep(Milliseconds{1});
        auto clients = connect_many(at, 3);
        scope.cancel();  // before the loop has seen them
        co_await scope.join();
        ensure(accepted <= 3 && !stream.armed(), "the kernel goes on");
        std::vector<Fd> rest;  // of which it had accepted none before it was told to end
        while (accepted + rest.size() < 3) rest.push_back((co_await stream.next()).value());
        scope.spawn(all(stream, accepted));  // cancelled before it begins
        co_await scope.join();
        ensure(stream.pending() == 0 && !stream.armed(), "something was asked for");
    };
    loop->run(body(*loop, listener));
}

TEST_CASE("what is accepted and not taken is bounded, and taking it makes the kernel go on") {
    auto loop = Loop::open().value();
    const testing::Listener listener{1'000};
    auto body = [](Loop& on, const testing::Listener& at) -> Task<> {
        AcceptStream stream{on, at.socket.get()};
        const Fd first = connect_to(at);
        std::vector<Fd> accepted;
        accepted.push_back((co_await stream.next()).value());
        auto clients = connect_many(at, 40);
        (void)co_await on.sleep(Milliseconds{2});
        for (int i = 0; i < 10; ++i) {
            for (auto& client : connect_many(at, 40)) clients.push_back(std::move(client));
            (void)co_await on.sleep(Milliseconds{1});
        }
        ensure(!stream.armed(), "it goes on accepting");
        ensure(stream.pending() >= limits::accept_ahead, "it has stopped too early");
        ensure(stream.pending() <= limits::accept_ahead + 80, "it has not stopped");
        while (accepted.size() < 441) accepted.push_back((co_await stream.next()).value());
    };
    loop->run(body(*loop, listener));
}

TEST_CASE("a stream that is destroyed closes what nobody took, whenever it came") {
    auto loop = Loop::open({.submissions = 8}).value();
    const testing::Listener listener{1'000};
    const RawFd before = lowest_free();
    auto body = [](Loop& on, const testing::Listener& at) -> Task<> {
        for (int round = 0; round < 50; ++round) {
            std::optional<AcceptStream> stream;
            stream.emplace(on, at.socket.get());
            auto clients = connect_many(at, 4);
            const Fd one = (co_await stream->next()).value();
            if (round % 2 == 0) (void)co_await on.sleep(Milliseconds{1});
            for (auto& client : connect_many(at, 2)) clients.push_back(std::move(client));
            stream.reset();
        }
    };
    loop->run(body(*loop, listener));
    {
        const AcceptStream unused{*loop, listener.socket.get()};  // the loop does not run
    }
    CHECK(lowest_free() == before);
}

TEST_CASE("a full descriptor table is an error of one answer, and the stream does not spin") {
    auto loop = Loop::open().value();
    const testing::Listener listener;
    auto body = [](Loop& on, const testing::Listener& at) -> Task<> {
        AcceptStream stream{on, at.socket.get()};
        const auto clients = connect_many(at, 3);
        rlimit old{};
        ::getrlimit(RLIMIT_NOFILE, &old);
        rlimit lowered = old;
        lowered.rlim_cur = static_cast<rlim_t>(lowest_free()) + 1;
        ::setrlimit(RLIMIT_NOFILE, &lowered);
        std::vector<Fd> accepted;
        accepted.push_back((co_await stream.next()).value());
        const auto turns = on.statistics().turns;
        for (int i = 0; i < 3; ++i) {
            const auto full = co_await stream.next();
            ensure(!full && full.error().is(std::errc::too_many_files_open), "the table is full");
            (void)co_await on.sleep(Milliseconds{5});
            ensure(!stream.armed(), "it tries again by itself");
        }
        ensure(on.statistics().turns - turns < 20, "the loop spins");
        ::setrlimit(RLIMIT_NOFILE, &old);
        for (int i = 0; i < 2; ++i) accepted.push_back((co_await stream.next()).value());
        for (const auto& client : clients) ensure(is_open(client), "no connection was lost");
    };
    loop->run(body(*loop, listener));
}

TEST_CASE("a completion queue that overflows ends the request, and the stream asks again") {
    auto loop = Loop::open({.submissions = 8, .completions = 8}).value();
    const testing::Listener listener{1'000};
    auto body = [](Loop& on, const testing::Listener& at) -> Task<std::size_t> {
        AcceptStream stream{on, at.socket.get()};
        const Fd first = connect_to(at);
        std::vector<Fd> accepted;
        accepted.push_back((co_await stream.next()).value());
        // The kernel delivers at the next enter, far more than there is room for.
        const auto clients = connect_many(at, 300);
        while (accepted.size() < 301) accepted.push_back((co_await stream.next()).value());
        for (const auto& client : clients) ensure(is_open(client), "no connection was lost");
        co_return accepted.size();
    };
    CHECK(loop->run(body(*loop, listener)) == 301);
    // The soft ring leaves connections in the listener's queue instead.
    if (loop->backend() == uring::Backend::io_uring) CHECK(loop->statistics().overflows > 0);
}
