// bench_request: an echo of 64 bytes on the engine alone, in one process, so that valgrind can
// count its instructions: they are the same in every run, whatever else the machine does. usage:
// bench_request CONNECTIONS ROUNDS     each round is a request on every connection
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

namespace {

using namespace ringfort;
constexpr Milliseconds idle_limit{60'000};
constexpr std::size_t payload = 64;

/// What the app `echo` does.
coro::Task<Result<void>> serve(net::Stream peer) {
    for (;;) {
        auto chunk = co_await co_await peer.receive(idle_limit);
        if (chunk.empty()) co_return co_await peer.flush(idle_limit);
        co_await co_await peer.post(std::move(chunk), idle_limit);
    }
}

coro::Task<void> end_quietly(net::Stream peer) {
    (void)co_await serve(std::move(peer));
}

coro::Task<void> serve_all(uring::Loop& loop, std::vector<Fd> sockets) {
    coro::Scope scope{co_await coro::current_context()};
    for (Fd& socket : sockets) scope.spawn(end_quietly(net::Stream{loop, std::move(socket)}));
    co_await scope.join();
}

/// The client, in a process of its own; returns its exit code.
int ask(const std::vector<Fd>& sockets, unsigned long rounds) {
    std::array<std::byte, payload> bytes{};
    for (unsigned long round = 0; round < rounds; ++round) {
        for (const Fd& socket : sockets)
            if (::send(socket.get(), bytes.data(), payload, MSG_NOSIGNAL) != payload) return 1;
        for (const Fd& socket : sockets)
            if (::recv(socket.get(), bytes.data(), payload, MSG_WAITALL) != payload) return 1;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned long connections = argc == 3 ? std::strtoul(argv[1], nullptr, 10) : 0;
    const unsigned long rounds = argc == 3 ? std::strtoul(argv[2], nullptr, 10) : 0;
    if (connections == 0 || connections > 400 || rounds == 0) {
        fmt::print(stderr, "usage: bench_request CONNECTIONS ROUNDS     at most 400 connections\n");
        return 2;
    }
    std::vector<Fd> ours;
    std::vector<Fd> theirs;
    for (unsigned long i = 0; i < connections; ++i) {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return 1;
        ours.emplace_back(ends[0]);
        theirs.emplace_back(ends[1]);
    }
    const pid_t client = ::fork();
    if (client < 0) return 1;
    if (client == 0) {
        ours.clear();
        std::_Exit(ask(theirs, rounds));
    }
    theirs.clear();
    auto loop = uring::Loop::open({.backend = uring::Backend::io_uring});
    if (!loop) {
        fmt::print(stderr, "no ring: {}\n", loop.error().text());
        return 1;
    }
    (*loop)->run(serve_all(**loop, std::move(ours)));
    fmt::print("turns {}\n", (*loop)->statistics().turns);
    int status = 0;
    return ::waitpid(client, &status, 0) == client && status == 0 ? 0 : 1;
}
