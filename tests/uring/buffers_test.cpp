#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;

namespace {

Task<> receive_one(Loop& loop, RawFd socket, std::vector<uring::Lease>& kept, int& failed) {
    auto chunk = co_await loop.receive(socket);
    if (chunk)
        kept.push_back(*std::move(chunk));
    else
        ++failed;
}

struct Fixture {
    std::vector<std::pair<Fd, Fd>> pairs;
    std::vector<uring::Lease> kept;
    int failed = 0;

    explicit Fixture(int count) {
        for (int i = 0; i < count; ++i) {
            pairs.push_back(testing::socket_pair());
            ensure(::write(pairs.back().second.get(), "byte", 4) == 4, "write");
        }
    }
};

}  // namespace

TEST_CASE("a pool supplies more buffers when all are held, and takes them back afterwards") {
    auto loop =
        Loop::open({.receive_buffers = 4, .max_receive_buffers = 64, .receive_buffer_size = {4096}})
            .value();
    Fixture fixture{40};
    auto body = [](Loop& on, Fixture& all) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        for (auto& [near, far] : all.pairs)
            scope.spawn(receive_one(on, near.get(), all.kept, all.failed));
        co_await scope.join();
    };
    loop->run(body(*loop, fixture));
    CHECK(fixture.kept.size() == 40);
    CHECK(loop->buffers().leased() == 40);
    CHECK(loop->buffers().active() >= 40);
    fixture.kept.clear();
    CHECK(loop->buffers().leased() == 0);
    CHECK(loop->buffers().active() < 40);
}

TEST_CASE("a receive that finds every buffer held waits for one without spinning or losing data") {
    auto loop =
        Loop::open({.receive_buffers = 2, .max_receive_buffers = 2, .receive_buffer_size = {4096}})
            .value();
    Fixture fixture{5};
    auto body = [](Loop& on, Fixture& all) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        for (auto& [near, far] : all.pairs)
            scope.spawn(receive_one(on, near.get(), all.kept, all.failed));
        (void)co_await on.sleep(Milliseconds{30});
        const auto turns = on.statistics().turns;
        ensure(all.kept.size() == 2, "two buffers, two receives");
        (void)co_await on.sleep(Milliseconds{30});
        ensure(on.statistics().turns - turns < 5, "the loop spins");
        all.kept.clear();
        (void)co_await on.sleep(Milliseconds{5});
        ensure(all.kept.size() == 2, "two more");
        all.kept.clear();
        co_await scope.join();
    };
    loop->run(body(*loop, fixture));
    CHECK(fixture.kept.size() == 1);
    CHECK(fixture.failed == 0);
    CHECK(loop->statistics().starved >= 3);
    fixture.kept.clear();
}

TEST_CASE("a buffer that is given back reaches the receive that has data, whoever waited first") {
    auto loop =
        Loop::open({.receive_buffers = 1, .max_receive_buffers = 1, .receive_buffer_size = {4096}})
            .value();
    Fixture holder{1}, talker{1};
    auto [silent, far_silent] = testing::socket_pair();
    auto body = [](Loop& on, RawFd held, RawFd mute, RawFd talking, Fixture& first,
                   Fixture& second) -> Task<bool> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(receive_one(on, held, first.kept, first.failed));
        (void)co_await on.sleep(Milliseconds{2});
        scope.spawn(receive_one(on, mute, second.kept, second.failed));
        (void)co_await on.sleep(Milliseconds{2});
        scope.spawn(receive_one(on, talking, second.kept, second.failed));
        (void)co_await on.sleep(Milliseconds{2});
        first.kept.clear();
        (void)co_await on.sleep(Milliseconds{20});
        const bool served = second.kept.size() == 1;
        scope.cancel();
        co_await scope.join();
        second.kept.clear();
        co_return served;
    };
    CHECK(loop->run(body(*loop, holder.pairs[0].first.get(), silent.get(),
                         talker.pairs[0].first.get(), holder, talker)));
}

TEST_CASE("a receive that waits for a buffer can be cancelled") {
    auto loop =
        Loop::open({.receive_buffers = 1, .max_receive_buffers = 1, .receive_buffer_size = {4096}})
            .value();
    Fixture fixture{3};
    auto body = [](Loop& on, Fixture& all) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        for (auto& [near, far] : all.pairs)
            scope.spawn(receive_one(on, near.get(), all.kept, all.failed));
        (void)co_await on.sleep(Milliseconds{5});
        scope.cancel();
        co_await scope.join();
    };
    loop->run(body(*loop, fixture));
    CHECK(fixture.kept.size() == 1);
    CHECK(fixture.failed == 2);
    fixture.kept.clear();
}

TEST_CASE("options out of bounds are refused") {
    CHECK(Loop::open({.receive_buffers = 0, .max_receive_buffers = 0})
              .error()
              .is(std::errc::invalid_argument));
    CHECK(Loop::open({.receive_buffers = 1, .max_receive_buffers = 32'769})
              .error()
              .is(std::errc::invalid_argument));
    CHECK(Loop::open({.receive_buffer_size = {0}}).error().is(std::errc::invalid_argument));
}
