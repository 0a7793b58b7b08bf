#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "descriptor_limit.h"
#include "listener.h"

using namespace ringfort;
using coro::Task;

namespace {

Task<> accept_one(net::Acceptor& acceptor, std::optional<Result<net::Stream>>& out) {
    out.emplace(co_await acceptor.accept());
}

Task<> exhaust_and_recover(uring::Loop& loop, const testing::Listener& at,
                           net::AcceptorOptions options, bool& recovered) {
    options.backoff = Milliseconds{10};
    net::Acceptor acceptor{loop, at.socket.get(), options};
    std::vector<Fd> fillers;
    const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    std::optional<Result<net::Stream>> accepted;
    coro::Scope scope{co_await coro::current_context()};
    {
        const testing::DescriptorLimit limit{0};
        ensure((co_await loop.connect(client.get(), at.address)).has_value(), "connect");
        scope.spawn(accept_one(acceptor, accepted));
        const auto turns = loop.statistics().turns;
        (void)co_await loop.sleep(Milliseconds{100});
        ensure(!accepted, "accepted past the limit");
        ensure(loop.statistics().turns - turns < 60, "the acceptor spins");
    }
    co_await scope.join();
    recovered = accepted && accepted->has_value();
}

}  // namespace

TEST_CASE("an acceptor without descriptors backs off and serves the waiting connection later") {
    const bool exclusive = GENERATE(false, true);
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    bool recovered = false;
    loop->run(exhaust_and_recover(*loop, listener, {.exclusive = exclusive}, recovered));
    CHECK(recovered);
}

namespace {

/// Accepts for a millisecond, or until that fails; then cancels it if it has not.
Task<std::errc> accept_until_cancelled(uring::Loop& loop, RawFd listener,
                                       net::AcceptorOptions options) {
    net::Acceptor acceptor{loop, listener, options};
    std::optional<Result<net::Stream>> out;
    coro::Scope scope{co_await coro::current_context()};
    scope.spawn(accept_one(acceptor, out));
    (void)co_await loop.sleep(Milliseconds{50});
    scope.cancel();
    co_await scope.join();
    co_return static_cast<std::errc>(out->error().code().value());
}

}  // namespace

TEST_CASE("an acceptor ends when it is cancelled") {
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    const net::AcceptorOptions options{.exclusive = GENERATE(false, true)};
    CHECK(loop->run(accept_until_cancelled(*loop, listener.socket.get(), options)) ==
          std::errc::operation_canceled);
}

TEST_CASE("an acceptor whose listener is none says so instead of trying again and again") {
    auto loop = uring::Loop::open().value();
    const net::AcceptorOptions options{.exclusive = GENERATE(false, true)};
    const Fd plain{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK(loop->run(accept_until_cancelled(*loop, plain.get(), options)) ==
          std::errc::invalid_argument);
    const Fd datagrams{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    CHECK(loop->run(accept_until_cancelled(*loop, datagrams.get(), options)) ==
          std::errc::operation_not_supported);
    const Fd file{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    CHECK(loop->run(accept_until_cancelled(*loop, file.get(), options)) == std::errc::not_a_socket);
    auto waiting = [](uring::Loop& on, RawFd fd) -> Task<std::errc> {
        net::Acceptor acceptor{on, fd, net::AcceptorOptions{}};
        const auto taken = co_await acceptor.accept_waiting();
        co_return static_cast<std::errc>(taken.error().code().value());
    };
    CHECK(loop->run(waiting(*loop, datagrams.get())) == std::errc::operation_not_supported);
}

namespace {

/// Has the kernel refuse the calling thread's accepts with EPERM, for ever; those of a ring, which
/// are no system calls, pass. Tells whether it worked.
bool refuse_accepts() {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept4, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{.len = 4, .filter = program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// Accepts where a connection waits and is refused; returns how often the loop turned meanwhile.
Task<std::uint64_t> be_refused(uring::Loop& loop, const testing::Listener& at) {
    const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ensure((co_await loop.connect(client.get(), at.address)).has_value(), "connect");
    net::Acceptor acceptor{loop, at.socket.get(), {.backoff = Milliseconds{10}}};
    const auto waiting = co_await acceptor.accept_waiting();
    ensure(waiting.error().is(std::errc::operation_not_permitted), "it is not refused");
    std::optional<Result<net::Stream>> accepted;
    coro::Scope scope{co_await coro::current_context()};
    scope.spawn(accept_one(acceptor, accepted));
    const auto turns = loop.statistics().turns;
    (void)co_await loop.sleep(Milliseconds{100});
    ensure(!accepted, "a refusal ended the acceptor");
    scope.cancel();
    co_await scope.join();
    co_return loop.statistics().turns - turns;
}

}  // namespace

TEST_CASE("an acceptor that a firewall refuses rests before it tries again") {
    const testing::Listener listener;
    std::uint64_t turns = 0;
    bool filtered = false;
    std::thread{[&] {  // the filter goes with the thread
        filtered = refuse_accepts();
        if (!filtered) return;
        auto loop = uring::Loop::open({.backend = uring::Backend::epoll}).value();
        turns = loop->run(be_refused(*loop, listener));
    }}
        .join();
    if (!filtered) SKIP("seccomp filters are refused here");
    CHECK(turns > 2);
    CHECK(turns < 60);
}

TEST_CASE("what has arrived is taken after an accept was cancelled, and then there is nothing") {
    const bool exclusive = GENERATE(false, true);
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    auto body = [exclusive](uring::Loop& on, const testing::Listener& at) -> Task<int> {
        net::Acceptor acceptor{on, at.socket.get(), {.exclusive = exclusive}};
        const Fd first{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const Fd second{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        ensure((co_await on.connect(first.get(), at.address)).has_value(), "connect");
        ensure((co_await on.connect(second.get(), at.address)).has_value(), "connect");
        int taken = 0;
        for (;;) {
            const auto peer = co_await acceptor.accept_waiting();
            if (!peer || !*peer) co_return peer ? taken : -1;
            ++taken;
        }
    };
    CHECK(loop->run(body(*loop, listener)) == 2);
}

TEST_CASE("an exclusive acceptor gives out what it accepted ahead after its accept was cancelled") {
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    auto body = [](uring::Loop& on, const testing::Listener& at) -> Task<int> {
        net::Acceptor acceptor{on, at.socket.get(), {.exclusive = true}};
        std::vector<Fd> clients;
        std::optional<Result<net::Stream>> out;
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(accept_one(acceptor, out));
        for (int i = 0; i < 8; ++i) {
            clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            ensure((co_await on.connect(clients.back().get(), at.address)).has_value(), "connect");
        }
        scope.cancel();
        co_await scope.join();
        int taken = out->has_value() ? 1 : 0;
        for (;;) {
            const auto peer = co_await acceptor.accept_waiting();
            if (!peer || !*peer) co_return peer ? taken : -1;
            ++taken;
        }
    };
    CHECK(loop->run(body(*loop, listener)) == 8);
}
