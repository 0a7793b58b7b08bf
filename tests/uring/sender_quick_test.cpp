/// Posts to sockets with nothing on their way, which need no sender, and what takes them over when
/// more happens before they have gone: also while the kernel may still answer to them, because its
/// answers do not fit into the completion queue.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <span>
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
using testing::put;
using testing::read_now;
using uring::Loop;
using uring::Socket;

namespace {

/// A socket that posts what it receives, its peer, and what that has to read.
struct Echo {
    Echo(Loop& loop, std::pair<Fd, Fd> ends)
        : near{std::make_unique<Socket>(loop, std::move(ends.first))},
          far{std::move(ends.second)} {}

    /// Receives one chunk and posts it; returns false when there was none.
    Task<bool> once() {
        auto lease = co_await near->receive();
        if (!lease || lease->empty()) co_return false;
        posted += lease->text();
        ensure((co_await near->post(*std::move(lease))).has_value(), "post");
        co_return true;
    }

    std::unique_ptr<Socket> near;
    Fd far;
    std::string posted;
    std::string got;
    bool cut = false;  ///< closed with a post on its way
};

using Echoes = std::vector<std::unique_ptr<Echo>>;

Echoes make_echoes(Loop& loop, std::size_t count) {
    Echoes echoes;
    for (std::size_t i = 0; i < count; ++i)
        echoes.push_back(std::make_unique<Echo>(loop, testing::socket_pair()));
    return echoes;
}

Task<> echo_once(Echo& self) {
    CHECK(co_await self.once());
}

/// Has each receive `text` and post it; returns how many turns of the loop that took.
Task<std::uint64_t> echo_round(Loop& on, Echoes& all, const std::string& text) {
    coro::Scope scope{co_await coro::current_context()};
    for (auto& one : all) scope.spawn(echo_once(*one));
    (void)co_await on.sleep(Milliseconds{1});
    const std::uint64_t before = on.statistics().turns;
    for (auto& one : all) put(one->far, text);
    co_await scope.join();
    co_return on.statistics().turns - before;
}

/// Posts so many bytes as they come.
Task<> echo_all(Echo& self, std::size_t size) {
    while (self.posted.size() < size) {
        const bool more = co_await self.once();
        CHECK(more);
        if (!more) co_return;
    }
}

enum class Next : std::uint8_t { nothing, move, flush, ask, count };

/// Posts what comes, and does something else with the socket each time, in the same turn.
Task<> echo(Echo& self, std::uint64_t seed) {
    std::minstd_rand random{static_cast<std::uint32_t>(seed)};
    while (co_await self.once()) {
        switch (static_cast<Next>(random() % static_cast<unsigned>(Next::count))) {
            case Next::move:
                // Nothing is received meanwhile: this task is the only one.
                self.near = std::make_unique<Socket>(std::move(*self.near));
                break;
            case Next::flush:
                ensure((co_await self.near->flush()).has_value(), "flush");
                ensure(self.near->unsent() == 0, "something is left after a flush");
                break;
            case Next::ask:
                ensure((co_await self.near->post({})).has_value(), "post of nothing");
                break;
            default:
                break;
        }
    }
    self.cut = random() % 2 == 0;
    if (!self.cut) (void)co_await self.near->flush();
    self.near->close();
}

Task<> run_echoes(Loop& on, Echoes& all, std::uint64_t seed) {
    constexpr int rounds = 60;
    coro::Scope scope{co_await coro::current_context()};
    for (std::size_t i = 0; i < all.size(); ++i) scope.spawn(echo(*all[i], seed + i));
    for (int round = 0; round < rounds; ++round) {
        for (auto& one : all) put(one->far, std::to_string(round) + ";");
        (void)co_await on.sleep(Milliseconds{round % 8 == 0 ? 1 : 0});
        for (auto& one : all) one->got += read_now(one->far);
    }
    for (auto& one : all) ::shutdown(one->far.get(), SHUT_WR);
    co_await scope.join();
    (void)co_await on.sleep(Milliseconds{5});
    for (auto& one : all) one->got += read_now(one->far);
}

void check(const Echo& one) {
    INFO(one.posted);
    if (one.cut) {  // the last ones may have found no room in the submission queue
        CHECK(one.posted.starts_with(one.got));
        CHECK((one.got.empty() || one.got.back() == ';'));
    } else {
        CHECK(one.got == one.posted);
    }
}

/// Writes as much of `text` as the socket takes.
void offer(const Fd& fd, const std::string& text) {
    (void)::send(fd.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

TEST_CASE("whatever is done with sockets while their posts are on the way, all goes out in order") {
    // Queues too short for the posts of a turn and for their answers; for the posts; for both, if
    // not by much; for neither.
    const auto [submissions, completions] =
        GENERATE(table<std::uint32_t, std::uint32_t>({{4, 4}, {16, 64}, {32, 32}, {256, 256}}));
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        auto loop = Loop::open({.submissions = submissions, .completions = completions}).value();
        Echoes all = make_echoes(*loop, 40);
        loop->run(run_echoes(*loop, all, seed));
        INFO("queues of " << submissions << " and " << completions << ", seed " << seed);
        for (const auto& one : all) check(*one);
        CHECK(loop->buffers().leased() == 0);
        // The soft ring leaves bytes in the sockets instead.
        if (completions == 4 && loop->backend() == uring::Backend::io_uring)
            CHECK(loop->statistics().overflows > 0);
    }
}

TEST_CASE("what many receive at a time and post is not done by a few a turn") {
    constexpr std::size_t count = 20 * limits::deferred_works;
    constexpr std::uint64_t rounds = 4;
    // As many buffers as pieces, for a kernel on which each piece takes one.
    auto loop = Loop::open({.receive_buffers = 512, .max_receive_buffers = 512}).value();
    Echoes all = make_echoes(*loop, count);
    std::uint64_t turns = 0;
    loop->run([](Loop& on, Echoes& echoes, std::uint64_t& used) -> Task<> {
        for (std::uint64_t round = 0; round < rounds; ++round)
            used += co_await echo_round(on, echoes, "x;");
        for (auto& one : echoes) {
            ensure((co_await one->near->flush()).has_value(), "flush");
            one->got += read_now(one->far);
        }
    }(*loop, all, turns));
    for (const auto& one : all) check(*one);
    // Twice what the kernel does at a time fits into a turn, and then as much as has been posted.
    // Without that it would be eleven a round. Says nothing of a kernel before 6.13, or of epoll.
    CHECK(turns <= rounds * 8);
}

TEST_CASE("when many posts have gone the loop waits for something to happen") {
    constexpr std::size_t count = 3 * limits::deferred_works;  // once, then twice at a time
    constexpr std::uint64_t rounds = 10;
    const bool batches = GENERATE(false, true);
    CAPTURE(batches);
    auto loop = Loop::open({.features = {.minimum_waits = batches}}).value();
    Echoes all = make_echoes(*loop, count);
    std::uint64_t turns = 0;
    loop->run([](Loop& on, Echoes& echoes, std::uint64_t& used) -> Task<> {
        for (std::uint64_t round = 0; round < rounds; ++round) {
            (void)co_await echo_round(on, echoes, "x;");
            const std::uint64_t before = on.statistics().turns;
            (void)co_await on.sleep(Milliseconds{5});
            used += on.statistics().turns - before;
        }
    }(*loop, all, turns));
    // A minimum wait that has passed ends with the answers to posts, once a round.
    CHECK(turns <= (batches ? rounds * 5 / 2 : rounds * 3 / 2));
}

TEST_CASE("of many posts in a turn those that fail, or go in part, are told from those that go") {
    constexpr std::size_t count = limits::answered_sends + 40;  // some are answered, others not
    const auto mode = GENERATE(uring::RingMode::deferred_no_array, uring::RingMode::deferred,
                               uring::RingMode::cooperative);
    if (!testing::allow_files(2 * count + 100)) SKIP("too few files may be open here");
    const std::string much(64 << 10, 'x');
    auto loop = Loop::open({.features = {.mode = mode}}).value();
    Echoes all = make_echoes(*loop, count);
    enum class Fate : std::uint8_t { goes, goes_in_part, full, cut };
    const auto fate_of = [](std::size_t i) {
        constexpr std::array fates{Fate::goes, Fate::goes_in_part, Fate::full, Fate::cut};
        return fates[i % 7 < fates.size() ? i % 7 : 0];
    };
    std::vector<std::size_t> filled(count);
    auto body = [&](Loop& on) -> Task<> {
        for (std::size_t i = 0; i < count; ++i) {
            const int near = all[i]->near->fd();
            while (fate_of(i) == Fate::full) {
                const ssize_t sent = ::send(near, much.data(), much.size(), MSG_DONTWAIT);
                if (sent < 0) break;
                filled[i] += static_cast<std::size_t>(sent);
            }
            constexpr int little = 8 << 10;
            if (fate_of(i) == Fate::goes_in_part)
                ::setsockopt(near, SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
            put(all[i]->far, fate_of(i) == Fate::goes_in_part ? much : "now;");
            // What was received can still be read, and not be answered.
            if (fate_of(i) == Fate::cut) all[i]->far.close();
        }
        {
            coro::Scope scope{co_await coro::current_context()};
            for (std::size_t i = 0; i < count; ++i)
                scope.spawn(echo_all(*all[i], fate_of(i) == Fate::goes_in_part ? much.size() : 4));
            co_await scope.join();
        }
        (void)co_await on.sleep(Milliseconds{2});
        for (std::size_t i = 0; i < count; ++i) {
            Echo& one = *all[i];
            INFO("socket " << i);
            if (fate_of(i) == Fate::cut) {
                CHECK(one.near->unsent() == one.posted.size());
                const auto told = co_await one.near->post({});
                REQUIRE_FALSE(told.has_value());
                CHECK(told.error().is(std::errc::broken_pipe));
                continue;
            }
            CHECK(one.near->sends() == (fate_of(i) != Fate::goes));
            if (fate_of(i) == Fate::full) CHECK(one.near->unsent() == one.posted.size());
            if (fate_of(i) == Fate::goes_in_part) CHECK(one.near->unsent() < one.posted.size());
            one.got += read_now(one.far);
            while (one.near->unsent() > 0) {
                (void)co_await on.sleep(Milliseconds{1});
                one.got += read_now(one.far);
            }
            one.got += read_now(one.far);
            CHECK(one.got == std::string(filled[i], 'x') + one.posted);
        }
    };
    loop->run(body(*loop));
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("more posts in a turn than go without a sender go out as well") {
    constexpr std::size_t count = limits::quick_sends + 20;
    if (!testing::allow_files(2 * count + 100)) SKIP("too few files may be open here");
    auto loop = Loop::open().value();
    Echoes all = make_echoes(*loop, count);
    loop->run([](Loop& on, Echoes& echoes) -> Task<> {
        for (int round = 0; round < 3; ++round)
            (void)co_await echo_round(on, echoes, std::to_string(round) + ";");
        (void)co_await on.sleep(Milliseconds{2});
        for (auto& one : echoes) one->got += read_now(one->far);
    }(*loop, all));
    for (const auto& one : all) check(*one);
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("what a full socket has not taken at once is sent later, after a post that went") {
    auto loop = Loop::open().value();
    Echo one{*loop, testing::socket_pair()};
    loop->run([](Loop& on, Echo& self) -> Task<> {
        put(self.far, "first;");
        (void)co_await self.once();
        (void)co_await on.sleep(Milliseconds{1});
        CHECK(self.near->unsent() == 0);
        CHECK_FALSE(self.near->sends());
        const std::string much(64 << 10, 'x');
        std::size_t filled = 0;
        for (ssize_t sent = 0; sent >= 0; filled += static_cast<std::size_t>(sent)) {
            sent = ::send(self.near->fd(), much.data(), much.size(), MSG_DONTWAIT);
            if (sent < 0) break;
        }
        put(self.far, "second;");
        (void)co_await self.once();
        CHECK(self.near->sends());
        CHECK(self.near->unsent() == 7);
        (void)co_await on.sleep(Milliseconds{1});
        CHECK(self.near->unsent() == 7);
        std::string got;
        while (self.near->unsent() > 0) {
            got += read_now(self.far);
            (void)co_await on.sleep(Milliseconds{1});
        }
        got += read_now(self.far);
        CHECK(got == "first;" + std::string(filled, 'x') + "second;");
    }(*loop, one));
}

TEST_CASE(
    "a post has gone a turn later, whatever the kernel's answers have asked of it meanwhile") {
    // More than half of its buffers are held: a receive is asked for anew after every 128 KiB.
    auto loop = Loop::open({.receive_buffers = 8, .max_receive_buffers = 8}).value();
    Echo one{*loop, testing::socket_pair()};
    Echo held{*loop, testing::socket_pair()};
    Echo busy{*loop, testing::socket_pair()};
    Echo ticking{*loop, testing::socket_pair()};
    loop->run([](Echo& self, Echo& holder, Echo& flood, Echo& clock) -> Task<> {
        const std::string full(64 << 10, 'x');
        const std::string much(40'000, 'x');  // one answer each, and now and then the last one
        std::vector<uring::Lease> leases;
        for (std::size_t size = 0; size < 5 * full.size(); size += leases.back().size()) {
            if (size % full.size() == 0) put(holder.far, full);
            leases.push_back((co_await holder.near->receive()).value());
        }
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn([](Echo& from) -> Task<> {
            for (;;) {
                const auto lease = co_await from.near->receive();
                if (!lease || lease->empty()) co_return;
            }
        }(flood));
        for (int round = 0; round < 50; ++round) {
            offer(flood.far, much);
            put(self.far, "x;");
            CHECK(co_await self.once());
            offer(flood.far, much);
            put(clock.far, "t");  // received in the next turn
            CHECK((co_await clock.near->receive()).value().text() == "t");
            CHECK(self.near->unsent() == 0);
        }
        flood.far.close();
        co_await scope.join();
        self.got += read_now(self.far);
    }(one, held, busy, ticking));
    check(one);
}
