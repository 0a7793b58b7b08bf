/// Many senders at once, and what one of them, lent from socket to socket, must not carry along.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
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

#include "../coro/death.h"
#include "sockets.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using testing::read_now;
using uring::Loop;
using uring::Socket;

namespace {

/// Sockets on a loop that send back what they receive, and their peers.
struct Echoes {
    Echoes(Loop& loop, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            auto [near, far] = testing::socket_pair();
            sockets.emplace_back(loop, std::move(near));
            peers.push_back(std::move(far));
        }
    }
    /// Has socket `index` receive `text` and post it.
    Task<> post(std::size_t index, std::string text) {
        put(peers[index], text);
        auto lease = (co_await sockets[index].receive()).value();
        CHECK(co_await sockets[index].post(std::move(lease)));
    }
    std::vector<Socket> sockets;
    std::vector<Fd> peers;
};

/// Fills what lies between a socket and a peer that does not read.
Task<> clog(Echoes& echoes, std::size_t index) {
    const std::string much(32 << 10, 'x');
    for (;;) {
        put(echoes.peers[index], much);
        auto lease = (co_await echoes.sockets[index].receive()).value();
        const auto posted = co_await echoes.sockets[index].post(std::move(lease), Milliseconds{10});
        if (!posted) co_return;
    }
}

Task<> flush(Socket& socket, Milliseconds limit, std::optional<Result<void>>& out) {
    out.emplace(co_await socket.flush(limit));
}

}  // namespace

TEST_CASE("sockets that end with posts of one turn, in any order, send them") {
    auto loop = Loop::open().value();
    Echoes echoes{*loop, 4};
    loop->run([](Loop& on, Echoes& all) -> Task<> {
        std::vector<uring::Lease> leases;
        for (std::size_t i = 0; i < 4; ++i) {
            put(all.peers[i], "post " + std::to_string(i));
            leases.push_back((co_await all.sockets[i].receive()).value());
        }
        for (std::size_t i = 0; i < 4; ++i)  // none of them suspends: they are of one turn
            CHECK(co_await all.sockets[i].post(std::move(leases[i])));
        for (const std::size_t i : {0U, 3U, 1U}) all.sockets[i].close();
        (void)co_await on.sleep(Milliseconds{2});
        for (std::size_t i = 0; i < 4; ++i)
            CHECK(read_now(all.peers[i]) == "post " + std::to_string(i));
    }(*loop, echoes));
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("posts that find the submission queue full go later, all of them") {
    constexpr std::size_t count = 64;
    auto loop = Loop::open({.submissions = 4}).value();
    Echoes echoes{*loop, count};
    loop->run([](Loop& on, Echoes& all) -> Task<> {
        for (int round = 0; round < 3; ++round) {
            coro::Scope scope{co_await coro::current_context()};
            for (std::size_t i = 0; i < count; ++i)
                scope.spawn(all.post(i, "post " + std::to_string(i)));
            co_await scope.join();
            while (on.buffers().leased() > 0) (void)co_await on.sleep(Milliseconds{1});
            for (std::size_t i = 0; i < count; ++i)
                CHECK(read_now(all.peers[i]) == "post " + std::to_string(i));
        }
    }(*loop, echoes));
}

TEST_CASE("a sender takes neither time limit nor cancellation along to the next socket") {
    auto loop = Loop::open().value();
    Echoes echoes{*loop, 2};
    loop->run([](Loop& on, Echoes& all) -> Task<> {
        const coro::Context context = co_await coro::current_context();
        std::optional<Result<void>> first;
        std::optional<Result<void>> second;
        {
            coro::Scope scope{context};
            co_await clog(all, 0);
            scope.spawn(flush(all.sockets[0], Milliseconds{30}, first));
            (void)co_await on.sleep(Milliseconds{2});
            CHECK_FALSE(first);
            while (!first) {  // until the peer has read enough for the flush to end
                (void)read_now(all.peers[0]);
                (void)co_await on.sleep(Milliseconds{1});
            }
            co_await scope.join();
        }
        CHECK(first->has_value());
        coro::Scope scope{context};
        co_await clog(all, 1);  // with the sender that the first socket had
        scope.spawn(flush(all.sockets[1], Milliseconds{60'000}, second));
        (void)co_await on.sleep(Milliseconds{60});
        CHECK_FALSE(second);  // the first limit has passed
        scope.cancel();
        co_await scope.join();
        CHECK(second->error().is(std::errc::operation_canceled));
        all.sockets[1].close();
    }(*loop, echoes));
}

TEST_CASE("a socket that has flushed leaves its sender to others within the same expression") {
    auto loop = Loop::open().value();
    Echoes echoes{*loop, 2};
    loop->run([](Echoes& all) -> Task<> {
        auto then_post = [](Result<void> flushed, Echoes& to) -> Task<> {
            CHECK(flushed);
            co_await clog(to, 1);  // which has to wait
        };
        co_await clog(all, 0);
        auto reader = [](Echoes& from) -> Task<> {
            while (from.sockets[0].unsent() > 0) {
                (void)read_now(from.peers[0]);
                (void)co_await coro::sleep_for(Milliseconds{1});
            }
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(reader(all));
        co_await then_post(co_await all.sockets[0].flush(), all);
        co_await scope.join();
        all.sockets[1].close();
    }(echoes));
}

TEST_CASE("one receive after another under time limits of their own, at one place in a frame") {
    auto loop = Loop::open().value();
    Echoes echoes{*loop, 1};
    loop->run([](Echoes& all) -> Task<> {
        // Each timeout has a source of its own, at the address of the one before.
        for (int i = 0; i < 4; ++i) {
            if (i < 3) put(all.peers[0], "bytes");
            const auto limit = i < 3 ? Milliseconds{20'000} : Milliseconds{20};
            const auto got = co_await coro::timeout(limit, all.sockets[0].receive());
            if (i < 3)
                CHECK(got.value().text() == "bytes");
            else
                CHECK(got.error().is(std::errc::timed_out));
        }
    }(echoes));
}

TEST_CASE("a source that ends above a receive aborts") {
    const std::string message = testing::death_of([] {
        auto loop = Loop::open().value();
        Echoes echoes{*loop, 1};
        loop->run([](Echoes& all) -> Task<> {
            auto receive = [](Socket& socket) -> Task<> { (void)co_await socket.receive(); };
            coro::Scope scope{co_await coro::current_context()};
            auto source = std::make_unique<coro::CancelSource>();
            auto below = [](Task<> task, coro::CancelSource& by) -> Task<> {
                co_await std::move(task).under(by);
            };
            scope.spawn(below(receive(all.sockets[0]), *source));
            (void)co_await coro::sleep_for(Milliseconds{1});
            source.reset();
            co_await scope.join();
        }(echoes));
    });
    CHECK(message.find("a source was destroyed with something to cancel below it") !=
          std::string::npos);
}
