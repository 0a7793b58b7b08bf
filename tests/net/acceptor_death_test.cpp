/// Tries to destroy an acceptor, or what it needs, while it is needed.
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "../coro/death.h"
#include "../uring/run_beside.h"
#include "descriptor_limit.h"
#include "listener.h"

using namespace ringfort;
using coro::Task;
using net::Acceptor;
using testing::death_of;
using testing::says;

namespace {

Task<> accept(Acceptor& from) {
    (void)co_await from.accept();
}

Task<> look(Acceptor& from) {
    (void)co_await from.accept_waiting();
}

}  // namespace

TEST_CASE("an acceptor cannot be destroyed while a task accepts from it") {
    const std::string death = death_of([] {
        auto loop = uring::Loop::open().value();
        const testing::Listener listener;
        std::optional<Acceptor> acceptor{std::in_place, *loop, listener.socket.get()};
        testing::run_beside(*loop, accept(*acceptor), [&] { acceptor.reset(); });
    });
    CHECK(says(death, "an acceptor was destroyed while a task accepts from it"));
}

TEST_CASE("nor while it rests because descriptors have run out") {
    const std::string death = death_of([] {
        auto loop = uring::Loop::open().value();
        const testing::Listener listener;
        const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        ensure(::connect(client.get(), listener.address.data(), listener.address.size()) == 0, "");
        const testing::DescriptorLimit none{0};
        std::optional<Acceptor> acceptor{std::in_place, *loop, listener.socket.get()};
        testing::run_beside(*loop, accept(*acceptor), [&] { acceptor.reset(); });
    });
    CHECK(says(death, "an acceptor was destroyed while a task accepts from it"));
}

TEST_CASE("two tasks cannot accept from one acceptor") {
    const std::string death = death_of([] {
        auto loop = uring::Loop::open().value();
        const testing::Listener listener;
        Acceptor acceptor{*loop, listener.socket.get()};
        loop->run([](Acceptor& from) -> Task<> {
            coro::Scope scope{co_await coro::current_context()};
            scope.spawn(accept(from));
            scope.spawn(look(from));
            co_await scope.join();
        }(acceptor));
    });
    CHECK(says(death, "two tasks accept from one acceptor"));
}

TEST_CASE("a sweep cannot be destroyed before an acceptor of its") {
    const std::string death = death_of([] {
        auto loop = uring::Loop::open().value();
        const testing::Listener listener;
        std::optional<net::Sweep> sweep{std::in_place, *loop};
        const Acceptor acceptor{*loop, listener.socket.get(), {.sweep = &*sweep}};
        sweep.reset();
    });
    CHECK(says(death, "a sweep was destroyed before an acceptor of its"));
}

TEST_CASE("an acceptor can be destroyed when its accept has been cancelled") {
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    net::Sweep sweep{*loop};
    loop->run([](uring::Loop& on, net::Sweep& by, RawFd from) -> Task<> {
        std::optional<Acceptor> acceptor{std::in_place, on, from,
                                         net::AcceptorOptions{.sweep = &by}};
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(accept(*acceptor));
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
        CHECK_FALSE((co_await acceptor->accept_waiting()).value().has_value());
        acceptor.reset();
    }(*loop, sweep, listener.socket.get()));
}
