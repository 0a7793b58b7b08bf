/// Tries to destroy what the kernel or a task still works with. Each attempt ends the process with
/// a message that says what was destroyed.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "../coro/death.h"
#include "../net/listener.h"
#include "run_beside.h"
#include "sockets.h"

using namespace ringfort;
using coro::Task;
using testing::death_of;
using testing::run_beside;
using testing::says;
using uring::Loop;
using uring::Socket;

static_assert(!std::is_move_constructible_v<Loop>);
static_assert(!std::is_move_constructible_v<uring::VoidOperation>);
static_assert(!std::is_move_constructible_v<uring::ReceiveOperation>);
static_assert(!std::is_copy_constructible_v<Socket>);

namespace {

Task<> receive(Socket& socket) {
    (void)co_await socket.receive();
}

/// Sends more than a socket takes.
Task<> send(Socket& socket) {
    const std::vector<std::byte> bytes(std::size_t{16} << 20);
    (void)co_await socket.send_all(bytes);
}

}  // namespace

TEST_CASE("a loop with an operation in flight cannot be destroyed") {
    const std::string death = death_of([] {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        auto wait = [](Loop& on, RawFd fd) -> Task<> { (void)co_await on.poll(fd, POLLIN); };
        run_beside(*loop, wait(*loop, near.get()), [&] { loop.reset(); });
    });
    CHECK(says(death, "a loop was destroyed with operations in flight"));
}

TEST_CASE("a loop cannot be destroyed while a lease of its buffers is out") {
    const std::string death = death_of([] {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        std::optional<Socket> socket{std::in_place, *loop, std::move(near)};
        uring::Lease lease;
        auto keep = [](Socket& from, uring::Lease& into) -> Task<> {
            into = (co_await from.receive()).value();
        };
        testing::put(far, "kept");
        loop->run(keep(*socket, lease));
        socket.reset();
        loop.reset();
    });
    CHECK(says(death, "a buffer pool was destroyed with leases out"));
}

TEST_CASE("more cannot be taken off a lease than it has") {
    const std::string death = death_of([] {
        uring::Lease lease;
        lease.remove_prefix(1);
    });
    CHECK(says(death, "more was taken off a lease than it has"));
}

TEST_CASE("an operation in flight cannot be destroyed") {
    const std::string death = death_of([] {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        auto operation = std::make_unique<uring::NumberOperation>(
            *loop, uring::Request{.opcode = uring::Opcode::poll, .fd = near.get(), .flags = POLLIN},
            std::nullopt);
        auto wait = [](uring::NumberOperation& on) -> Task<> { (void)co_await on; };
        run_beside(*loop, wait(*operation), [&] { operation.reset(); });
    });
    CHECK(says(death, "an operation in flight was destroyed"));
}

TEST_CASE("an operation cannot be destroyed between its answer and its task") {
    const std::string death = death_of([] {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        std::unique_ptr<uring::NumberOperation> operations[2];
        for (auto& one : operations)
            one = std::make_unique<uring::NumberOperation>(
                *loop,
                uring::Request{.opcode = uring::Opcode::poll, .fd = near.get(), .flags = POLLIN},
                std::nullopt);
        // Both are answered in one turn; whoever goes on first destroys the other.
        auto wait = [](auto& mine, auto& other) -> Task<> {
            (void)co_await *mine;
            other.reset();
        };
        auto both = [&]() -> Task<> {
            coro::Scope scope{co_await coro::current_context()};
            scope.spawn(wait(operations[0], operations[1]));
            scope.spawn(wait(operations[1], operations[0]));
            co_await scope.join();
        };
        testing::put(far, "x");
        loop->run(both());
    });
    CHECK(says(death, "an operation was destroyed before its task went on"));
}

TEST_CASE("a socket cannot be destroyed while a task receives from it") {
    const std::string death = death_of([] {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        std::optional<Socket> socket{std::in_place, *loop, std::move(near)};
        run_beside(*loop, receive(*socket), [&] { socket.reset(); });
    });
    CHECK(says(death, "a stream was destroyed while a task receives from it"));
}

TEST_CASE("a socket cannot be destroyed between the bytes and the task that is to receive them") {
    const std::string death = death_of([] {
        auto loop = Loop::open().value();
        std::optional<Socket> sockets[2];
        Fd peers[2];
        for (int i = 0; i < 2; ++i) {
            auto [near, far] = testing::socket_pair();
            sockets[i].emplace(*loop, std::move(near));
            peers[i] = std::move(far);
        }
        auto take = [](auto& mine, auto& other) -> Task<> {
            (void)co_await mine->receive();
            other.reset();
        };
        auto both = [&]() -> Task<> {
            coro::Scope scope{co_await coro::current_context()};
            scope.spawn(take(sockets[0], sockets[1]));
            scope.spawn(take(sockets[1], sockets[0]));
            co_await scope.join();
        };
        for (const Fd& peer : peers) testing::put(peer, "x");
        loop->run(both());
    });
    CHECK(says(death, "a stream was destroyed while a task receives from it"));
}

TEST_CASE("a socket cannot be destroyed, closed or moved while a task sends to it") {
    const auto death = [](void (*deed)(std::optional<Socket>&)) {
        return death_of([deed] {
            auto loop = Loop::open().value();
            auto [near, far] = testing::socket_pair();
            std::optional<Socket> socket{std::in_place, *loop, std::move(near)};
            run_beside(*loop, send(*socket), [&] { deed(socket); });
        });
    };
    const std::string_view destroyed = "a stream was destroyed while a task sends to it";
    CHECK(says(death([](std::optional<Socket>& socket) { socket.reset(); }), destroyed));
    CHECK(says(death([](std::optional<Socket>& socket) { socket->close(); }), destroyed));
    CHECK(says(death([](std::optional<Socket>& socket) { Socket other{*std::move(socket)}; }),
               "a stream was moved while a task sends to it"));
}

TEST_CASE("what a socket sends without a copy is a send of its as any other") {
    const std::string destroyed = death_of([] {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        std::optional<Socket> socket{std::in_place, *loop, std::move(near)};
        run_beside(
            *loop,
            [](Socket& on) -> Task<> {
                const std::vector<std::byte> bytes(std::size_t{16} << 20);
                (void)co_await on.send_zero_copy(bytes);
            }(*socket),
            [&] { socket.reset(); });
    });
    CHECK(says(destroyed, "a stream was destroyed while a task sends to it"));
    const std::string overtaken = death_of([] {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        loop->run([](Loop& on, Fd end, const Fd& peer) -> Task<> {
            Socket socket{on, std::move(end)};
            testing::put(peer, "x");
            auto chunk = co_await socket.receive();
            (void)co_await socket.post(*std::move(chunk));
            const std::array<std::byte, 1> bytes{};
            (void)co_await socket.send_zero_copy(bytes);
        }(*loop, std::move(near), far));
    });
    CHECK(says(overtaken, "a send would overtake what was posted: flush first"));
}

TEST_CASE("a file cannot be destroyed, closed or moved while a task works with it") {
    const auto death = [](void (*deed)(std::optional<uring::File>&)) {
        return death_of([deed] {
            auto loop = Loop::open().value();
            int ends[2];
            ensure(::pipe(ends) == 0, "pipe");
            const Fd writer{ends[1]};
            std::optional<uring::File> file{std::in_place, *loop, Fd{ends[0]}};
            run_beside(
                *loop,
                [](uring::File& from) -> Task<> {
                    std::array<std::byte, 8> bytes{};
                    (void)co_await from.read(bytes);
                }(*file),
                [&] { deed(file); });
        });
    };
    const std::string_view message = "a file was moved or closed while a task works with it";
    CHECK(says(death([](std::optional<uring::File>& file) { file.reset(); }), message));
    CHECK(says(death([](std::optional<uring::File>& file) { (void)file->close(); }), message));
    CHECK(says(
        death([](std::optional<uring::File>& file) { const uring::File other{*std::move(file)}; }),
        message));
}

TEST_CASE("a socket can be destroyed when its sends and receives have ended or been cancelled") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    std::optional<Socket> socket{std::in_place, *loop, std::move(near)};
    auto body = [](Loop& on, std::optional<Socket>& of) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(send(*of));
        scope.spawn(receive(*of));
        (void)co_await on.sleep(Milliseconds{2});
        scope.cancel();
        co_await scope.join();
        Socket moved{*std::move(of)};
        of.reset();
    };
    loop->run(body(*loop, socket));
    CHECK_FALSE(socket);
}

TEST_CASE("a stream of connections cannot be destroyed while a task awaits one") {
    const std::string death = death_of([] {
        auto loop = Loop::open().value();
        const testing::Listener listener;
        std::optional<uring::AcceptStream> stream{std::in_place, *loop, listener.socket.get()};
        auto next = [](uring::AcceptStream& from) -> Task<> { (void)co_await from.next(); };
        run_beside(*loop, next(*stream), [&] { stream.reset(); });
    });
    CHECK(says(death, "what a task waits for was abandoned"));
}
