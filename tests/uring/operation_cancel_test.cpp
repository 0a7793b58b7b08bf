#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
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
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "../net/listener.h"
#include "sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;

namespace {

RawFd lowest_free() {
    const Fd probe{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    return probe.get();
}

Fd tcp_socket() {
    return Fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
}

/// Whether an operation that is cancelled at that very moment has succeeded is the kernel's choice:
/// both must occur for these tests to mean something, and neither may lose anything.
struct Outcomes {
    int succeeded = 0;
    int cancelled = 0;
};

template <class T>
void count(const Result<T>& result, Outcomes& outcomes) {
    if (result)
        ++outcomes.succeeded;
    else if (result.error().is(std::errc::operation_canceled))
        ++outcomes.cancelled;
    else
        panic(result.error().text());
}

}  // namespace

TEST_CASE("an accept that is cancelled while a connection comes delivers it or leaves it queued") {
    auto loop = Loop::open().value();
    const testing::Listener listener;
    const RawFd before = lowest_free();
    auto accept = [](Loop& on, RawFd from, Outcomes& outcomes, std::vector<Fd>& into) -> Task<> {
        auto accepted = co_await on.accept(from);
        count(accepted, outcomes);
        if (accepted) into.push_back(*std::move(accepted));
    };
    auto cancel = [](coro::Scope& scope) -> Task<> {
        scope.cancel();
        co_return;
    };
    auto body = [&accept, &cancel](Loop& on, const testing::Listener& at,
                                   Outcomes& outcomes) -> Task<> {
        for (int round = 0; round < 100; ++round) {
            std::vector<Fd> accepted;
            const Fd client = tcp_socket();
            coro::Scope scope{co_await coro::current_context()};
            const auto connect = [&] {
                ensure(::connect(client.get(), at.address.data(), at.address.size()) == 0, "");
            };
            if (round % 4 == 0) connect();
            scope.spawn(accept(on, at.socket.get(), outcomes, accepted));
            if (round % 4 == 0) {
                scope.spawn(cancel(scope));  // after the accept, and in the same system call
            } else {
                (void)co_await on.sleep(Milliseconds{round % 2});
                if (round % 4 != 3) connect();
                scope.cancel();
            }
            co_await scope.join();
            if (!accepted.empty() || round % 4 == 3) continue;
            auto queued = co_await on.accept(at.socket.get(), Milliseconds{1'000});
            ensure(queued.has_value(), "the connection is lost");
        }
    };
    Outcomes outcomes;
    loop->run(body(*loop, listener, outcomes));
    CHECK(outcomes.succeeded > 0);
    CHECK(outcomes.cancelled > 0);
    CHECK(lowest_free() == before);
}

TEST_CASE("a cancellation that the kernel does not find a request for is asked for again") {
    auto loop = Loop::open().value();
    // A sender that could send, to a receiver that takes no more: the kernel tries again and again,
    // and between two tries the request is nowhere to be found.
    const Fd receiver{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const Fd sender{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const sockaddr_un any{.sun_family = AF_UNIX, .sun_path = {}};
    REQUIRE(::bind(receiver.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(sa_family_t)) ==
            0);
    sockaddr_un name{};
    socklen_t size = sizeof name;
    REQUIRE(::getsockname(receiver.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
    while (::sendto(sender.get(), "x", 1, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&name),
                    size) == 1) {
    }
    char byte = 'x';
    iovec piece{.iov_base = &byte, .iov_len = 1};
    msghdr message{};
    message.msg_name = &name;
    message.msg_namelen = size;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    Outcomes outcomes;
    auto send = [](Loop& on, RawFd from, const msghdr& what, Outcomes& out) -> Task<> {
        const uring::Request request{.opcode = uring::Opcode::send_message,
                                     .fd = from,
                                     .address = &what,
                                     .flags = MSG_NOSIGNAL};
        count(co_await uring::VoidOperation{on, request, std::nullopt}, out);
    };
    auto body = [&]() -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(send(*loop, sender.get(), message, outcomes));
        auto cancel = [](coro::Scope& all) -> Task<> {
            all.cancel();  // in the turn in which it was asked for
            co_return;
        };
        coro::Scope after{co_await coro::current_context()};
        after.spawn(cancel(scope));
        co_await scope.join();
        co_await after.join();
    };
    const Instant begin = now();
    loop->run(body());
    CHECK(outcomes.cancelled == 1);
    CHECK(now() - begin < Milliseconds{1'000});
}

TEST_CASE("a connect that is cancelled says whether it has connected") {
    auto loop = Loop::open().value();
    const testing::Listener listener{256};
    const RawFd before = lowest_free();
    auto connect = [](Loop& on, const testing::Listener& to, Outcomes& outcomes) -> Task<> {
        const Fd client = tcp_socket();
        const auto connected = co_await on.connect(client.get(), to.address);
        count(connected, outcomes);
        if (!connected) co_return;
        sockaddr_storage peer{};
        socklen_t size = sizeof peer;
        ensure(::getpeername(client.get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0,
               "it is not connected");
    };
    auto body = [&connect](Loop& on, const testing::Listener& to, Outcomes& outcomes) -> Task<> {
        for (int round = 0; round < 60; ++round) {
            coro::Scope scope{co_await coro::current_context()};
            scope.spawn(connect(on, to, outcomes));
            if (round % 2 == 0) (void)co_await on.sleep(Milliseconds{0});
            scope.cancel();
            co_await scope.join();
        }
    };
    Outcomes outcomes;
    loop->run(body(*loop, listener, outcomes));
    CHECK(outcomes.succeeded > 0);
    CHECK(outcomes.cancelled > 0);
    CHECK(lowest_free() == before);
}

TEST_CASE("reads of a pipe that are cancelled while bytes come lose none") {
    auto loop = Loop::open().value();
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd from{ends[0]};
    const Fd to{ends[1]};
    auto read = [](Loop& on, const Fd& pipe, Outcomes& outcomes, std::string& out) -> Task<> {
        std::byte bytes[16];
        const auto got = co_await on.read(pipe.get(), bytes);
        count(got, outcomes);
        if (got) out.append(reinterpret_cast<const char*>(bytes), *got);
    };
    auto body = [&read](Loop& on, const Fd& pipe, const Fd& end, Outcomes& outcomes,
                        std::string& out) -> Task<> {
        for (int round = 0; round < 200; ++round) {
            coro::Scope scope{co_await coro::current_context()};
            scope.spawn(read(on, pipe, outcomes, out));
            if (round % 3 != 0) (void)co_await on.sleep(Milliseconds{0});
            const char letter = static_cast<char>('a' + round % 26);
            if (round % 2 == 0) ensure(::write(end.get(), &letter, 1) == 1, "write");
            if (round % 5 == 0) (void)co_await on.sleep(Milliseconds{0});
            scope.cancel();
            co_await scope.join();
        }
    };
    Outcomes outcomes;
    std::string received;
    loop->run(body(*loop, from, to, outcomes, received));
    char rest[512];
    ::fcntl(from.get(), F_SETFL, O_NONBLOCK);
    if (const auto left = ::read(from.get(), rest, sizeof rest); left > 0)
        received.append(rest, static_cast<std::size_t>(left));
    std::string expected;
    for (int round = 0; round < 200; round += 2) expected += static_cast<char>('a' + round % 26);
    CHECK(received == expected);
    CHECK(outcomes.succeeded > 0);
    CHECK(outcomes.cancelled > 0);
}

TEST_CASE("a send that is cancelled has sent a beginning of its bytes and nothing else") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    std::string text(4 << 20, '\0');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 4'096);
    auto send = [](Loop& on, const Fd& to, const std::string& bytes, Outcomes& out) -> Task<> {
        count(co_await on.send_all(to.get(), std::as_bytes(std::span{bytes})), out);
    };
    auto body = [&send](Loop& on, const Fd& to, const std::string& bytes, Outcomes& out) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(send(on, to, bytes, out));
        (void)co_await on.sleep(Milliseconds{2});
        scope.cancel();
        co_await scope.join();
    };
    Outcomes outcomes;
    loop->run(body(*loop, near, text, outcomes));
    CHECK(outcomes.cancelled == 1);
    near.close();
    std::string received;
    char bytes[4'096];
    for (;;) {
        const auto got = ::read(far.get(), bytes, sizeof bytes);
        if (got <= 0) break;
        received.append(bytes, static_cast<std::size_t>(got));
    }
    CHECK_FALSE(received.empty());
    CHECK(text.starts_with(received));
}
