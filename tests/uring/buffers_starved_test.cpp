/// What goes on while others hold every buffer of the pool: all that has anybody to do it.
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
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
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"
#include "soft_ring_sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;
using uring::Socket;

namespace {

constexpr Milliseconds patience{5'000};

/// A connection over TCP that is served by an echo, and its client's end.
struct Connection {
    explicit Connection(Loop& loop) : Connection{loop, testing::tcp_pair()} {}
    Connection(Loop& loop, std::pair<Fd, Fd> ends)
        : near{loop, std::move(ends.first)}, far{std::move(ends.second)} {}
    Socket near;
    Fd far;
};

Task<> echo(Socket& socket) {
    for (;;) {
        auto chunk = co_await socket.receive();
        if (!chunk || chunk->empty()) co_return;
        if (!co_await socket.post(*std::move(chunk))) co_return;
    }
}

/// Connections that a task each waits for a message on, all of which come at once.
class Crowd {
public:
    Crowd(Loop& loop, std::size_t count, std::size_t bytes) : bytes_{bytes}, got_(count) {
        for (std::size_t i = 0; i < count; ++i) all_.emplace_back(loop, testing::socket_pair());
    }

    /// Returns how many turns it takes until all have been received.
    std::uint64_t turns_to_serve(Loop& loop) {
        std::uint64_t turns = 0;
        loop.run([](Loop& on, Crowd& self, std::uint64_t& count) -> Task<> {
            coro::Scope readers{co_await coro::current_context()};
            for (std::size_t i = 0; i < self.all_.size(); ++i)
                readers.spawn(self.receive(self.all_[i].near, self.got_[i]));
            (void)co_await coro::sleep_until(Instant{});  // the kernel has been asked for all
            const std::string message(self.bytes_, 'm');
            for (const Connection& one : self.all_) testing::put(one.far, message);
            count = on.statistics().turns;
            co_await readers.join();
            count = on.statistics().turns - count;
        }(loop, *this, turns));
        CHECK(got_ == std::vector<std::size_t>(all_.size(), bytes_));
        return turns;
    }

private:
    Task<> receive(Socket& socket, std::size_t& got) const {
        while (got < bytes_) {
            const auto chunk = co_await socket.receive();
            if (!chunk || chunk->empty()) co_return;
            got += chunk->size();
        }
    }

    std::size_t bytes_;
    std::vector<Connection> all_;
    std::vector<std::size_t> got_;
};

/// Sends until neither the server nor the network takes more.
Task<> flood(Loop& loop, const Fd& far) {
    const std::vector<std::byte> bytes(std::size_t{16} << 20);
    (void)co_await loop.send_all(far.get(), bytes, Milliseconds{300});
}

Task<int> round_trips(Loop& loop, const Fd& far) {
    for (int done = 0; done < 100; ++done) {
        std::string text = std::to_string(done) + ';';
        if (!co_await loop.send_all(far.get(), std::as_bytes(std::span{text}))) co_return done;
        std::string answer(text.size(), '\0');
        const auto count =
            co_await loop.read(far.get(), std::as_writable_bytes(std::span{answer}), patience);
        if (!count || answer != text) co_return done;
    }
    co_return 100;
}

Task<int> serve_two_floods_and_one_echo(Loop& loop, std::vector<Connection>& all) {
    coro::Scope served{co_await coro::current_context()};
    for (auto& one : all) served.spawn(echo(one.near));
    {
        coro::Scope floods{co_await coro::current_context()};
        floods.spawn(flood(loop, all[0].far));
        floods.spawn(flood(loop, all[1].far));
        co_await floods.join();
    }
    const int done = co_await round_trips(loop, all[2].far);
    served.cancel();
    co_await served.join();
    co_return done;
}

/// Sends and receives so much that the kernel lets `bytes` wait on the way: it gives a socket room
/// as its reader takes more at a time.
void widen(int reader, int writer, std::size_t bytes) {
    const std::vector<std::byte> piece(std::size_t{256} << 10);
    std::vector<std::byte> into(bytes);
    for (int round = 0; round < 64; ++round) {
        std::size_t sent = 0;
        for (ssize_t count = 1; count > 0 && sent < bytes;) {
            count = ::send(writer, piece.data(), piece.size(), MSG_DONTWAIT);
            if (count > 0) sent += static_cast<std::size_t>(count);
        }
        for (std::size_t got = 0; got < sent;) {
            const ssize_t count = ::recv(reader, into.data(), into.size(), 0);
            REQUIRE(count > 0);
            got += static_cast<std::size_t>(count);
        }
        if (sent >= bytes) return;
    }
    SKIP("this machine's sockets hold no burst");
}

/// A pool in which every piece occupies a buffer.
std::unique_ptr<Loop> open_small(std::uint32_t most) {
    return Loop::open({.receive_buffers = 1,
                       .max_receive_buffers = most,
                       .receive_buffer_size = {4096},
                       .features = {.incremental_buffers = false}})
        .value();
}

}  // namespace

TEST_CASE("an echo goes on beside two clients that send and do not read") {
    const std::uint32_t most = GENERATE(64U, 8U, 2U);
    auto loop = Loop::open({.receive_buffers = 2, .max_receive_buffers = most}).value();
    std::vector<Connection> all;
    for (int i = 0; i < 3; ++i) all.emplace_back(*loop);
    CHECK(loop->run(serve_two_floods_and_one_echo(*loop, all)) == 100);
}

TEST_CASE("of many that find no buffer so many ask again as there are buffers, and not all") {
    constexpr std::size_t many = 400;
    auto loop = Loop::open({.receive_buffers = 2,
                            .max_receive_buffers = 1'024,
                            .receive_buffer_size = {4096},
                            .features = {.incremental_buffers = false}})
                    .value();
    Crowd crowd{*loop, many, 4096};
    // The soft ring gives its two buffers back within the turn, and so never needs more of them.
    const bool grows = loop->backend() == uring::Backend::io_uring;
    CHECK(crowd.turns_to_serve(*loop) <= (grows ? many / 10 : many));
    const std::uint64_t starved = loop->statistics().starved;
    CHECK(starved >= many / 2);
    CHECK(starved <= many + many / 20);  // once each, and not in every turn
}

TEST_CASE("as many small messages are received in a turn as fit into the kernel's buffers") {
    constexpr std::size_t many = 1'000;
    if (!testing::allow_files(2 * many + 100)) SKIP("too few files may be open here");
    auto loop = Loop::open({.receive_buffers = 1, .receive_buffer_size = {4096}}).value();
    if (!loop->features().incremental_buffers) SKIP("this kernel is older than Linux 6.12");
    Crowd crowd{*loop, many, 100};
    // 40 fit into one; one at a time it would be a thousand turns.
    CHECK(crowd.turns_to_serve(*loop) <= 80);
    CHECK(loop->statistics().starved <= 2 * many);  // it would be 12,000 if all asked each time
}

TEST_CASE("what nobody takes of a burst is bounded by what a connection may bring at once") {
    auto loop = Loop::open().value();
    if (!loop->features().bounded_receives) SKIP("this kernel is older than Linux 6.17");
    Connection one{*loop};
    auto body = [](Loop& on, Connection& burst) -> Task<std::size_t> {
        {
            // All that the socket's queue holds, before the first receive.
            std::vector<std::byte> bytes(std::size_t{4} << 20);
            (void)co_await on.send_all(burst.far.get(), bytes, Milliseconds{100});
            const auto first = co_await burst.near.receive();
        }
        (void)co_await on.sleep(Milliseconds{30});
        co_return burst.near.receiver().pending();
    };
    const std::size_t ahead = loop->run(body(*loop, one));
    CHECK(ahead >= limits::receive_ahead.count);
    CHECK(ahead <= limits::receive_burst.count + limits::receive_buffer_size.count);
}

TEST_CASE("a burst goes as far as it may, and not so far when half of the buffers are in use") {
    auto loop =
        Loop::open(
            {.receive_buffers = 64, .max_receive_buffers = 256, .receive_buffer_size = {16 << 10}})
            .value();
    if (!loop->features().bounded_receives) SKIP("this kernel is older than Linux 6.17");
    constexpr std::size_t burst = std::size_t{2} << 20;
    std::vector<Connection> all;
    for (int i = 0; i < 6; ++i) {
        auto ends = testing::tcp_pair();
        widen(ends.first.get(), ends.second.get(), burst);
        all.emplace_back(*loop, std::move(ends));
    }
    auto body = [](Loop& on, std::vector<Connection>& crowd) -> Task<> {
        for (auto& one : crowd) {
            const std::vector<std::byte> bytes(burst);
            (void)co_await on.send_all(one.far.get(), bytes, Milliseconds{100});
            const auto first = co_await one.near.receive();
            (void)co_await on.sleep(Milliseconds{5});
        }
    };
    loop->run(body(*loop, all));
    const std::size_t rest = 16 << 10;
    CHECK(all.front().near.receiver().pending() > limits::receive_burst.count - 2 * rest);
    CHECK(all.front().near.receiver().pending() <= limits::receive_burst.count + rest);
    CHECK(all.back().near.receiver().pending() > limits::receive_ahead.count / 2);
    CHECK(all.back().near.receiver().pending() <= limits::receive_ahead.count + rest);
    CHECK(loop->buffers().leased() < 256);
}

TEST_CASE("a receiver that waits for a buffer can be paused or closed in any turn") {
    const bool closes = GENERATE(true, false);
    for (int turns = 0; turns < 4; ++turns) {
        auto loop = open_small(1);
        Connection holder{*loop};
        Connection other{*loop};
        Connection sign{*loop};
        auto body = [closes, turns](Loop& on, Connection& first, Connection& second,
                                    Connection& sign) -> Task<> {
            coro::Scope scope{co_await coro::current_context()};
            auto receiving = [](Socket& from) -> Task<> { (void)co_await from.receive(); };
            scope.spawn(receiving(second.near));  // while there is a buffer
            (void)co_await coro::sleep_for(Milliseconds{2});
            testing::put(first.far, "held");
            auto held = co_await first.near.receive();
            // Both are seen in one turn: that there is no buffer, and that this task is to go on.
            testing::put(second.far, "bytes");
            testing::put(sign.far, "now");
            (void)co_await on.poll(sign.near.fd(), POLLIN);
            for (int i = 0; i < turns; ++i) (void)co_await coro::sleep_until(Instant{});
            scope.cancel();
            co_await scope.join();
            if (closes) {
                second.near.close();
            } else {
                second.near.receiver().pause();
                for (;;) {
                    const auto rest = co_await second.near.receive_rest();
                    if (!rest || rest->empty()) break;
                }
                CHECK_FALSE(second.near.receiver().armed());
            }
            CHECK(held->text() == "held");
        };
        loop->run(body(*loop, holder, other, sign));
        CHECK(loop->buffers().leased() == 0);
    }
}

TEST_CASE("no bytes are lost or out of order where some have buffers and some have not") {
    auto loop = open_small(3);
    Connection one{*loop};
    constexpr std::size_t total = std::size_t{1} << 20;
    auto writer = [](Loop& on, Fd& far) -> Task<> {
        std::vector<std::uint32_t> numbers(total / 4);
        for (std::uint32_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
        (void)co_await on.send_all(far.get(), std::as_bytes(std::span{numbers}));
        far.close();
    };
    auto body = [&writer](Loop& on, Connection& pair) -> Task<bool> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(writer(on, pair.far));
        std::vector<uring::Lease> held;
        std::string all;
        for (std::size_t i = 0;; ++i) {
            auto chunk = co_await pair.near.receive();
            ensure(chunk.has_value(), "receive");
            if (chunk->empty()) break;
            all += chunk->text();
            held.push_back(*std::move(chunk));
            if (i % 16 == 15) held.clear();
        }
        co_await scope.join();
        bool right = all.size() == total;
        for (std::size_t i = 0; right && i < total / 4; ++i) {
            std::uint32_t number = 0;
            all.copy(reinterpret_cast<char*>(&number), 4, i * 4);
            right = number == i;
        }
        co_return right;
    };
    CHECK(loop->run(body(*loop, one)));
    CHECK(loop->statistics().starved > 0);
    CHECK(loop->buffers().leased() == 0);
    CHECK(loop->buffers().active() <= 3);
}

TEST_CASE(
    "a socket closed while the kernel is about to receive into a buffer that came back ends") {
    auto loop = open_small(1);
    Connection holder{*loop};
    Fd far;
    auto body = [&far](Loop& on, Connection& first) -> Task<> {
        auto ends = testing::tcp_pair();
        far = std::move(ends.second);
        testing::put(first.far, "held");
        auto held = co_await first.near.receive();
        coro::Scope scope{co_await coro::current_context()};
        auto closing = [](Loop& in, Fd fd) -> Task<> {
            Socket socket{in, std::move(fd)};
            // Without a buffer: the kernel is to wait until there are bytes, which there are.
            (void)co_await socket.receive();
        };
        testing::put(far, "bytes that find a buffer");
        scope.spawn(closing(on, std::move(ends.first)));
        auto cancel = [](coro::Scope& from, uring::Lease& lease) -> Task<> {
            from.cancel();  // all in the turn in which the receive was asked for
            lease.release();
            co_return;
        };
        coro::Scope after{co_await coro::current_context()};
        after.spawn(cancel(scope, *held));
        co_await scope.join();
        co_await after.join();
    };
    loop->run(body(*loop, holder));  // which waits until the kernel has let go of the socket
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("a peer's end and its reset are seen without a buffer") {
    const bool reset = GENERATE(false, true);
    auto loop = open_small(1);
    Connection holder{*loop};
    Connection other{*loop};
    auto body = [reset](Connection& first, Connection& second) -> Task<> {
        testing::put(first.far, "held");
        const auto held = co_await first.near.receive();
        testing::put(second.far, "last");
        const auto last = co_await second.near.receive();
        CHECK(last->text() == "last");
        if (reset)
            testing::reset(std::move(second.far));
        else
            second.far.close();
        const auto end = co_await second.near.receive();
        CHECK(end.has_value() == !reset);
        CHECK(held->text() == "held");
    };
    loop->run(body(holder, other));
}
