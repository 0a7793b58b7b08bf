#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "listener.h"

using namespace ringfort;
using coro::Task;

namespace {

/// Lowers the limit so that `spare` more descriptors can be opened, and puts it back.
class DescriptorLimit {
public:
    explicit DescriptorLimit(unsigned spare) {
        ::getrlimit(RLIMIT_NOFILE, &old_);
        const Fd probe{::open("/dev/null", O_RDONLY)};
        rlimit lowered = old_;
        lowered.rlim_cur = static_cast<rlim_t>(probe.get()) + spare;
        ::setrlimit(RLIMIT_NOFILE, &lowered);
    }
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &old_); }

private:
    rlimit old_{};
};

Task<> accept_one(net::Acceptor& acceptor, std::optional<Result<net::Stream>>& out) {
    out.emplace(co_await acceptor.accept());
}

Task<> exhaust_and_recover(uring::Loop& loop, const testing::Listener& at, bool exclusive,
                           bool& recovered) {
    net::Acceptor acceptor{
        loop, at.socket.get(), {.backoff = Milliseconds{10}, .exclusive = exclusive}};
    std::vector<Fd> fillers;
    const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    std::optional<Result<net::Stream>> accepted;
    coro::Scope scope{co_await coro::current_context()};
    {
        const DescriptorLimit limit{0};
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
    loop->run(exhaust_and_recover(*loop, listener, exclusive, recovered));
    CHECK(recovered);
}

TEST_CASE("an acceptor ends when it is cancelled and when its listener is none") {
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    const bool exclusive = GENERATE(false, true);
    auto body = [exclusive](uring::Loop& on, RawFd fd, bool cancel) -> Task<std::errc> {
        net::Acceptor acceptor{on, fd, {.exclusive = exclusive}};
        std::optional<Result<net::Stream>> out;
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(accept_one(acceptor, out));
        (void)co_await on.sleep(Milliseconds{1});
        if (cancel) scope.cancel();
        co_await scope.join();
        co_return static_cast<std::errc>(out->error().code().value());
    };
    CHECK(loop->run(body(*loop, listener.socket.get(), true)) == std::errc::operation_canceled);
    const Fd plain{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK(loop->run(body(*loop, plain.get(), false)) == std::errc::invalid_argument);
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
