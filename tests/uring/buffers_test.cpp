#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

constexpr std::uintptr_t page_bytes = 4'096;

std::uintptr_t address_of(const std::byte& byte) {
    return reinterpret_cast<std::uintptr_t>(&byte);
}

/// Returns where the page of `byte` begins.
std::uintptr_t page_of(const std::byte& byte) {
    return address_of(byte) / page_bytes * page_bytes;
}

/// A pool in which every message occupies a buffer: it fills one, or buffers are not shared.
std::unique_ptr<Loop> open_loop(std::uint32_t buffers, std::uint32_t most) {
    return Loop::open({.receive_buffers = buffers,
                       .max_receive_buffers = most,
                       .receive_buffer_size = {4096},
                       .features = {.incremental_buffers = false}})
        .value();
}

struct Fixture {
    std::vector<uring::Socket> sockets;
    std::vector<Fd> peers;
    std::vector<uring::Lease> kept;
    int failed = 0;

    Fixture(Loop& loop, int count) {
        for (int i = 0; i < count; ++i) {
            auto [near, far] = testing::socket_pair();
            sockets.emplace_back(loop, std::move(near));
            peers.push_back(std::move(far));
            write(i);
        }
    }
    void write(int number) {
        ensure(::write(peers.at(static_cast<std::size_t>(number)).get(), "byte", 4) == 4, "write");
    }
};

Task<> receive_one(uring::Socket& socket, Fixture& fixture) {
    auto chunk = co_await socket.receive();
    if (chunk)
        fixture.kept.push_back(*std::move(chunk));
    else
        ++fixture.failed;
}

Task<> receive_all(Fixture& all) {
    coro::Scope scope{co_await coro::current_context()};
    for (auto& socket : all.sockets) scope.spawn(receive_one(socket, all));
    co_await scope.join();
}

}  // namespace

TEST_CASE("a pool supplies more buffers when all are held, and takes them back afterwards") {
    auto loop = open_loop(4, 64);
    Fixture fixture{*loop, 40};
    loop->run(receive_all(fixture));
    CHECK(fixture.kept.size() == 40);
    CHECK(loop->buffers().leased() == 40);
    CHECK(loop->buffers().active() >= 40);
    fixture.kept.clear();
    CHECK(loop->buffers().leased() == 0);
    CHECK(loop->buffers().active() < 40);  // parked as they came: the kernel has enough
    auto trickle = [](Loop& on, Fixture& all) -> Task<> {
        for (int i = 0; i < 400 && on.buffers().active() > 4; ++i) {
            all.write(0);
            (void)co_await all.sockets[0].receive();
            (void)co_await on.sleep(Milliseconds{10});
        }
    };
    loop->run(trickle(*loop, fixture));
    CHECK(loop->buffers().active() == 4);
}

TEST_CASE("the pages of buffers that stay parked are given back") {
    constexpr std::size_t size = 16'384;
    constexpr std::size_t count = 12;
    auto loop =
        Loop::open({.receive_buffers = 1, .max_receive_buffers = 64, .receive_buffer_size = {size}})
            .value();
    auto [near, far] = testing::socket_pair();
    uring::Socket socket{*loop, std::move(near)};
    auto resident = [](const std::vector<void*>& pages) {
        return std::ranges::count_if(pages, [](void* page) {
            unsigned char in_core = 0;
            return ::mincore(page, 1, &in_core) == 0 && (in_core & 1) != 0;
        });
    };
    loop->run([](Loop& on, uring::Socket& from, const Fd& peer, auto counted) -> Task<> {
        std::vector<uring::Lease> held;
        std::vector<void*> pages;
        for (std::size_t i = 0; i < count; ++i) {
            testing::put(peer, std::string(size, 'x'));
            held.push_back((co_await from.receive()).value());
            const auto bytes = held.back().bytes();
            for (const std::byte* byte : {&bytes.front(), &bytes.back()})
                pages.push_back(reinterpret_cast<void*>(page_of(*byte)));
        }
        CHECK(counted(pages) == 2 * count);
        held.clear();
        CHECK(counted(pages) == 2 * count);  // they may be wanted again at once
        constexpr Milliseconds long_enough = 2 * limits::buffer_trim_ms + Milliseconds{300};
        (void)co_await on.sleep(long_enough);
        CHECK(counted(pages) <= 4);
        for (std::size_t i = 0; i < count; ++i) {  // those that the kernel was left with, too
            testing::put(peer, std::string(size, 'x'));
            (void)co_await from.receive();
        }
        (void)co_await on.sleep(long_enough);
        CHECK(counted(pages) <= 4);
    }(*loop, socket, far, resident));
}

TEST_CASE("a pool supplies twice what a turn uses, and not as many again as are held") {
    auto loop = open_loop(4, 1024);
    Fixture holders{*loop, 300};
    loop->run(receive_all(holders));
    CHECK(holders.kept.size() == 300);
    CHECK(loop->statistics().turns < 40);  // a few buffers a turn would take longer
    CHECK(loop->buffers().active() < 600);
    const auto before = loop->buffers().active();
    Fixture one{*loop, 5};
    loop->run(receive_all(one));
    CHECK(one.kept.size() == 5);
    CHECK(loop->buffers().active() <= before + 16);
    holders.kept.clear();
    one.kept.clear();
}

TEST_CASE("the pages of thousands of buffers are given back a few at a time") {
    constexpr std::size_t size = page_bytes - limits::receive_buffer_offset.count;  // a page each
    constexpr std::size_t count = 2'000;
    static_assert(count > 5 * limits::buffers_trimmed);
    auto loop = Loop::open({.receive_buffers = 4,
                            .max_receive_buffers = 4'096,
                            .receive_buffer_size = {size},
                            .features = {.incremental_buffers = false}})
                    .value();
    auto [near, far] = testing::socket_pair();
    uring::Socket socket{*loop, std::move(near)};
    auto body = [](Loop& on, uring::Socket& from, const Fd& peer) -> Task<> {
        std::vector<uring::Lease> held;
        std::vector<std::uintptr_t> pages;
        for (std::size_t i = 0; i < count; ++i) {
            testing::put(peer, std::string(size, 'x'));
            held.push_back((co_await from.receive()).value());
            pages.push_back(page_of(held.back().bytes().front()));
        }
        const auto [first, last] = std::ranges::minmax(pages);
        held.clear();
        std::vector<unsigned char> in_core((last - first) / page_bytes + 1);
        auto resident = [&in_core, begin = first] {
            // NOLINTNEXTLINE(performance-no-int-to-ptr)
            ensure(::mincore(reinterpret_cast<void*>(begin), in_core.size() * page_bytes,
                             in_core.data()) == 0,
                   "mincore");
            return std::ranges::count_if(in_core, [](unsigned char c) { return (c & 1) != 0; });
        };
        const Instant begun = now();
        std::ptrdiff_t before = resident();
        std::ptrdiff_t most = 0;
        CHECK(before >= static_cast<std::ptrdiff_t>(count));
        while (before > 100 && now() - begun < Milliseconds{10'000}) {
            (void)co_await on.sleep(Milliseconds{1});
            const auto after = resident();
            most = std::max(most, before - after);
            before = after;
        }
        CHECK(before <= 100);
        CHECK(most > 0);
        CHECK(most <= static_cast<std::ptrdiff_t>(2 * limits::buffers_trimmed));
    };
    loop->run(body(*loop, socket, far));
}

TEST_CASE("messages of many sockets share a buffer where the kernel can") {
    auto loop =
        Loop::open({.receive_buffers = 1, .max_receive_buffers = 1, .receive_buffer_size = {4096}})
            .value();
    if (!loop->features().incremental_buffers) SKIP("this kernel is older than Linux 6.12");
    Fixture fixture{*loop, 100};
    loop->run(receive_all(fixture));
    CHECK(fixture.kept.size() == 100);
    CHECK(loop->buffers().active() == 1);
    for (const auto& lease : fixture.kept) CHECK(lease.text() == "byte");
    fixture.kept.clear();
}

TEST_CASE("a buffer is used again when it is full and its last lease has ended, not before") {
    auto loop =
        Loop::open({.receive_buffers = 2, .max_receive_buffers = 2, .receive_buffer_size = {64}})
            .value();
    auto body = [](Fixture& one) -> Task<> {
        for (int round = 0; round < 100; ++round) {
            auto chunk = co_await one.sockets[0].receive();
            ensure(chunk.has_value() && chunk->text() == "byte", "the bytes of another round");
            if (round % 10 == 0) one.kept.push_back(*std::move(chunk));
            if (round % 10 == 5) one.kept.clear();
            one.write(0);
        }
    };
    Fixture fixture{*loop, 1};
    loop->run(body(fixture));
    fixture.kept.clear();
    CHECK(loop->buffers().leased() <= 1);  // the last message may have come
}

TEST_CASE("a receive that finds every buffer held is given memory of its own, without spinning") {
    auto loop = open_loop(2, 2);
    Fixture fixture{*loop, 5};
    auto body = [](Loop& on, Fixture& all) -> Task<> {
        co_await receive_all(all);
        ensure(all.kept.size() == 5, "every receive ends");
        coro::Scope scope{co_await coro::current_context()};
        for (auto& socket : all.sockets) scope.spawn(receive_one(socket, all));
        (void)co_await on.sleep(Milliseconds{10});
        const auto turns = on.statistics().turns;
        (void)co_await on.sleep(Milliseconds{30});
        ensure(on.statistics().turns - turns < 5, "the loop spins");
        all.kept.clear();
        for (int i = 0; i < 5; ++i) all.write(i);
        co_await scope.join();
    };
    loop->run(body(*loop, fixture));
    CHECK(fixture.kept.size() == 5);
    CHECK(fixture.failed == 0);
    for (const auto& lease : fixture.kept) CHECK(lease.text() == "byte");
    CHECK(loop->statistics().starved >= 3);
    CHECK(loop->buffers().active() == 2);
    CHECK(loop->buffers().leased() == 5);
    fixture.kept.clear();
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("bytes that nobody waits for stay in the socket while every buffer is held") {
    auto loop = open_loop(1, 1);
    Fixture fixture{*loop, 2};
    auto body = [](Loop& on, Fixture& all) -> Task<> {
        co_await receive_all(all);
        all.write(1);
        (void)co_await on.sleep(Milliseconds{10});
        const auto turns = on.statistics().turns;
        (void)co_await on.sleep(Milliseconds{30});
        ensure(on.statistics().turns - turns < 5, "the loop spins");
        ensure(all.sockets[1].receiver().pending() == 0, "nobody waits for them");
        co_await receive_one(all.sockets[1], all);
    };
    loop->run(body(*loop, fixture));
    CHECK(fixture.kept.size() == 3);
    fixture.kept.clear();
}

TEST_CASE("a buffer that is given back reaches the receive that has data, whoever waited first") {
    auto loop = open_loop(1, 1);
    Fixture holder{*loop, 1};
    Fixture talker{*loop, 1};
    auto [near, far] = testing::socket_pair();
    uring::Socket silent{*loop, std::move(near)};
    auto body = [](Loop& on, uring::Socket& mute, Fixture& first, Fixture& second) -> Task<bool> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(receive_one(first.sockets[0], first));
        (void)co_await on.sleep(Milliseconds{2});
        scope.spawn(receive_one(mute, second));
        (void)co_await on.sleep(Milliseconds{2});
        scope.spawn(receive_one(second.sockets[0], second));
        (void)co_await on.sleep(Milliseconds{2});
        first.kept.clear();
        (void)co_await on.sleep(Milliseconds{20});
        const bool served = second.kept.size() == 1;
        scope.cancel();
        co_await scope.join();
        second.kept.clear();
        co_return served;
    };
    CHECK(loop->run(body(*loop, silent, holder, talker)));
}

TEST_CASE("a receive without a buffer can be cancelled, and its socket destroyed") {
    auto loop = open_loop(1, 1);
    std::optional<Fixture> fixture;
    fixture.emplace(*loop, 3);
    auto body = [](Loop& on, Fixture& all) -> Task<> {
        co_await receive_all(all);
        coro::Scope scope{co_await coro::current_context()};
        for (auto& socket : all.sockets) scope.spawn(receive_one(socket, all));
        (void)co_await on.sleep(Milliseconds{5});
        scope.cancel();
        co_await scope.join();
    };
    loop->run(body(*loop, *fixture));
    CHECK(fixture->kept.size() == 3);
    CHECK(fixture->failed == 3);
    fixture.reset();
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("what the kernel may have filled unseen is told, so that no pages of it are dropped") {
    const auto mode = GENERATE(uring::RingMode::deferred_no_array, uring::RingMode::cooperative);
    uring::Driver driver;
    REQUIRE(driver.open(8, 8, {.mode = mode}, uring::Backend::automatic));
    const bool deferred = driver.features().mode != uring::RingMode::cooperative;
    CHECK(driver.settled() == deferred);
    auto [near, far] = testing::socket_pair();
    REQUIRE(::write(far.get(), "x", 1) == 1);
    REQUIRE(driver.submit({.opcode = uring::Opcode::poll, .fd = near.get(), .flags = POLLIN}, 16));
    CHECK(driver.settled() == deferred);
    driver.flush();
    CHECK_FALSE(driver.settled());
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

TEST_CASE(
    "buffers of whatever size lose nothing when the pages of those beside them are given back") {
    // None of them ends with a page; of 8,192 bytes only because of where it begins.
    const std::size_t size = GENERATE(std::size_t{6'144}, std::size_t{8'192});
    auto loop = Loop::open({.receive_buffers = 2, .receive_buffer_size = Bytes{size}}).value();
    auto [end, far] = testing::socket_pair();
    uring::Socket near{*loop, std::move(end)};
    loop->run([](Loop& on, uring::Socket& socket, const Fd& peer, std::size_t each) -> Task<> {
        std::vector<uring::Lease> held;
        for (int i = 0; i < 12; ++i) {
            testing::put(peer, std::string(each, 'h'));
            for (std::size_t got = 0; got < each; got += held.back().size())
                held.push_back((co_await socket.receive()).value());
        }
        // Every second one is not used any more, and the pages of some are given back.
        std::vector<const std::byte*> released;
        for (std::size_t i = 0; i < held.size(); i += 2) {
            released.push_back(held[i].bytes().data());
            held[i].release();
        }
        (void)co_await on.sleep(limits::buffer_trim_ms * 5 / 2);
        CHECK(
            std::ranges::any_of(released, [](const std::byte* at) { return *at == std::byte{}; }));
        for (const auto& lease : held)
            CHECK(lease.text().find_first_not_of('h') == std::string_view::npos);
    }(*loop, near, far, size));
}

TEST_CASE("every buffer begins receive_buffer_offset bytes into a page") {
    const std::size_t size = GENERATE(std::size_t{512}, std::size_t{6'144}, std::size_t{65'536});
    auto loop = Loop::open({.receive_buffers = 2,
                            .receive_buffer_size = Bytes{size},
                            .features = {.incremental_buffers = false}})
                    .value();
    Fixture fixture{*loop, 6};
    loop->run([](Fixture& all) -> Task<> {
        for (auto& socket : all.sockets) all.kept.push_back((co_await socket.receive()).value());
    }(fixture));
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    for (const auto& lease : fixture.kept)
        CHECK(address_of(lease.bytes().front()) % page == limits::receive_buffer_offset.count);
}
