/// Ends that the kernel does not tell of, because they came together with the last bytes.
#include <sys/socket.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"
#include "soft_ring_sockets.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using uring::Lease;
using uring::Loop;
using uring::Socket;

namespace {

constexpr std::size_t buffer_size = 4'096;
constexpr Milliseconds patience{5'000};

/// Has one buffer, so that a receive that begins while somebody holds that is asked for in another
/// way: the kernel looks for bytes before it looks for a buffer.
std::unique_ptr<Loop> open_loop() {
    return Loop::open({.receive_buffers = 1,
                       .max_receive_buffers = 1,
                       .receive_buffer_size = Bytes{buffer_size}})
        .value();
}

/// What a task reads before it learns of the end.
struct Reader {
    Reader(Loop& loop, std::pair<Fd, Fd> ends)
        : near{loop, std::move(ends.first)}, far{std::move(ends.second)} {}

    Task<> read() {
        for (;;) {
            const auto chunk = co_await near.receive(patience);
            if (!chunk)
                error = chunk.error().code();
            else
                got += chunk->text();
            if (!chunk || chunk->empty()) break;
        }
        ended = true;
    }

    Socket near;
    Fd far;
    std::string got;
    std::error_code error;
    bool ended = false;
};

Task<> release(Lease& lease) {
    lease.release();
    co_return;
}

/// Has `reader` begin to receive when bytes and end are there, as long as the buffer is held.
Task<> read_late(Loop& loop, Reader& reader) {
    Reader holder{loop, testing::socket_pair()};
    put(holder.far, std::string(buffer_size, 'x'));
    Lease held = (co_await holder.near.receive()).value();
    REQUIRE_FALSE(held.empty());
    Lease rest;  // of a buffer that somebody has had the beginning of
    if (held.size() < buffer_size) rest = (co_await holder.near.receive()).value();
    coro::Scope scope{co_await coro::current_context()};
    scope.spawn(reader.read());  // asks for bytes,
    scope.spawn(release(held));  // and there is a buffer before the kernel is called
    co_await scope.join();
}

}  // namespace

TEST_CASE("an end that is there together with the last bytes is told") {
    auto loop = open_loop();
    Reader reader{*loop, testing::socket_pair()};
    put(reader.far, "the last bytes");
    reader.far.close();
    loop->run(read_late(*loop, reader));
    CHECK(reader.got == "the last bytes");
    CHECK_FALSE(reader.error);
}

TEST_CASE("an end is told of a receive that was asked for anew after others had brought bytes") {
    auto loop = open_loop();
    Reader reader{*loop, testing::socket_pair()};
    loop->run([](Loop& on, Reader& self) -> Task<> {
        put(self.far, "first");
        CHECK((co_await self.near.receive()).value().text() == "first");
        self.near.receiver().pause();
        while (self.near.receiver().armed()) (void)co_await on.sleep(Milliseconds{1});
        put(self.far, "the last bytes");
        self.far.close();
        co_await read_late(on, self);
    }(*loop, reader));
    CHECK(reader.got == "the last bytes");
    CHECK_FALSE(reader.error);
}

TEST_CASE("a reset that is there together with the last bytes is told") {
    auto loop = open_loop();
    Reader reader{*loop, testing::tcp_pair()};
    put(reader.far, "the last bytes");
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    REQUIRE(::setsockopt(reader.far.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    reader.far.close();
    loop->run(read_late(*loop, reader));
    CHECK(reader.got == "the last bytes");
    CHECK((!reader.error || reader.error == std::errc::connection_reset));
}

TEST_CASE("an end that nobody was told of is found behind a thousand silent connections") {
    constexpr std::size_t count = limits::hangups_checked + 100;
    if (!testing::allow_files(2 * count + 100)) SKIP("too few files may be open here");
    auto loop = open_loop();
    std::vector<std::unique_ptr<Reader>> silent;
    for (std::size_t i = 0; i < count; ++i)
        silent.push_back(std::make_unique<Reader>(*loop, testing::socket_pair()));
    Reader last{*loop, testing::socket_pair()};
    put(last.far, "the last bytes");
    last.far.close();
    auto body = [](Loop& on, std::vector<std::unique_ptr<Reader>>& all, Reader& last) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        for (auto& one : all) scope.spawn(one->read());
        (void)co_await on.sleep(Milliseconds{1});
        for (auto& one : all) put(one->far, "x");
        co_await read_late(on, last);
        // There is one buffer: some have to wait for it, and each gives up after `patience`.
        for (auto& one : all) {
            while (one->got.empty() && !one->ended) (void)co_await on.sleep(Milliseconds{1});
            CHECK_FALSE(one->ended);
            CHECK(one->got == "x");
            one->far.close();
        }
        co_await scope.join();
    };
    loop->run(body(*loop, silent, last));
    CHECK(last.got == "the last bytes");
    CHECK_FALSE(last.error);
}
