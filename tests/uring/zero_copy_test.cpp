#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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

using uring::ZeroCopySend;

namespace {

std::pair<Fd, Fd> tcp_pair() {
    const testing::Listener listener;
    Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ensure(::connect(client.get(), listener.address.data(), listener.address.size()) == 0, "");
    return {std::move(client),
            Fd{::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC)}};
}

Task<> read_all(Loop& on, RawFd from, std::string& out) {
    std::vector<std::byte> bytes(64 << 10);
    for (;;) {
        const auto count = co_await on.read(from, bytes);
        if (!count || *count == 0) co_return;
        out.append(reinterpret_cast<const char*>(bytes.data()), *count);
    }
}

/// Overwrites the bytes as soon as they are the sender's again, and sends them once more.
Task<std::string> send_twice(Loop& on, Fd from, Fd to, std::string text) {
    coro::Scope scope{co_await coro::current_context()};
    std::string received;
    scope.spawn(read_all(on, to.get(), received));
    uring::Socket sender{on, std::move(from)};
    for (int round = 0; round < 4; ++round) {
        const auto sent = co_await sender.send_zero_copy(std::as_bytes(std::span{text}));
        ensure(sent.has_value(), "send");
        for (char& c : text) ++c;
    }
    ::shutdown(sender.fd(), SHUT_WR);
    co_await scope.join();
    co_return received;
}

std::string four_times(std::string text) {
    std::string all;
    for (int round = 0; round < 4; ++round) {
        all += text;
        for (char& c : text) ++c;
    }
    return all;
}

std::string sample(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 4'099);
    return text;
}

}  // namespace

TEST_CASE("bytes sent without a copy may be overwritten once the send has ended") {
    const bool zero_copy = GENERATE(true, false);
    auto loop = Loop::open({.features = {.zero_copy = zero_copy}}).value();
    auto [near, far] = tcp_pair();
    const std::string text = sample(3 << 20);
    CHECK(loop->run(send_twice(*loop, std::move(near), std::move(far), text)) == four_times(text));
}

TEST_CASE("a socket that cannot send without a copy is sent to with one") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    const std::string text = sample(300'000);
    CHECK(loop->run(send_twice(*loop, std::move(near), std::move(far), text)) == four_times(text));
}

TEST_CASE("a send without a copy to a reader that has stopped ends when it is told to") {
    auto loop = Loop::open().value();
    auto [near, far] = tcp_pair();
    const std::string text = sample(32 << 20);
    auto send = [](Loop& on, const Fd& from, const std::string& bytes,
                   std::optional<Result<void>>& out) -> Task<> {
        out.emplace(co_await ZeroCopySend{on, from.get(), std::as_bytes(std::span{bytes})});
    };
    auto body = [&send](Loop& on, const Fd& from, Fd to, const std::string& bytes) -> Task<> {
        std::optional<Result<void>> out;
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(send(on, from, bytes, out));
        (void)co_await on.sleep(Milliseconds{5});
        scope.cancel();
        (void)co_await on.sleep(Milliseconds{5});
        to.close();  // what it never read resets the connection, and the kernel lets go
        co_await scope.join();
        ensure(!*out, "it cannot have sent all");
    };
    loop->run(body(*loop, near, std::move(far), text));
}

TEST_CASE("an error of the connection is told, whichever way the bytes go") {
    auto loop = Loop::open().value();
    auto [near, far] = tcp_pair();
    far.close();
    ::shutdown(near.get(), SHUT_WR);
    auto body = [](Loop& on, const Fd& from) -> Task<Result<void>> {
        co_return co_await ZeroCopySend{on, from.get(), std::as_bytes(std::span{"x", 1})};
    };
    CHECK(loop->run(body(*loop, near)).error().is(std::errc::broken_pipe));
}
