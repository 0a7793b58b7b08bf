/// Large pieces, which are received and sent by calls of their own, and how a socket comes to that
/// and back.
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "../captured_log.h"
#include "sockets.h"
#include "soft_ring_sockets.h"
#include "stream_pair.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using testing::read_exactly;
using testing::read_now;
using testing::StreamPair;
using uring::Loop;
using uring::Socket;

namespace {

constexpr std::size_t large = limits::direct_transfer.count;

/// Opens a loop for which one socket is as good as many (crowd_test.cpp has the others).
std::unique_ptr<Loop> open_loop(uring::LoopOptions options = {}) {
    options.direct_sockets = 0;
    return Loop::open(options).value();
}

/// Has `pair` receive so much at a time that it is polled, and checks that it is.
Task<> make_direct(Loop& on, StreamPair& pair) {
    const std::string text(large, 'w');
    const std::uint64_t before = on.statistics().direct;
    for (int i = 0; i < 32 && on.statistics().direct == before; ++i) {
        put(pair.far, text);
        CHECK(co_await read_exactly(pair.near, large) == text);
    }
    CHECK(on.statistics().direct > before);
}

/// Receives a piece of `size` bytes, which its peer has just sent.
Task<uring::Lease> piece_of(StreamPair& pair, std::size_t size) {
    put(pair.far, std::string(size, 'p'));
    auto chunk = co_await pair.near.receive();
    ensure(chunk.has_value() && chunk->size() == size, "a piece came in pieces");
    co_return *std::move(chunk);
}

std::ptrdiff_t open_files() {
    return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {});
}

Task<> receive_into(Socket& socket, std::optional<Result<uring::Lease>>& out) {
    out.emplace(co_await socket.receive());
}

}  // namespace

TEST_CASE("what is large is received by calls of its own, and what is small by the ring again") {
    auto loop = open_loop();
    StreamPair pair{*loop};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        CHECK(co_await read_exactly(sockets.near, 0) == "");
        co_await make_direct(on, sockets);
        for (unsigned i = 0; i <= limits::direct_after; ++i) {
            put(sockets.far, "small");
            CHECK(co_await read_exactly(sockets.near, 5) == "small");
        }
        const std::uint64_t before = on.statistics().direct;
        for (int i = 0; i < 20; ++i) {
            put(sockets.far, "small");
            CHECK(co_await read_exactly(sockets.near, 5) == "small");
        }
        CHECK(on.statistics().direct == before);
        co_await make_direct(on, sockets);
    }(*loop, pair));
}

TEST_CASE("small pieces that come while a socket is to be polled do not keep it from that") {
    // As on a kernel before 6.12, which gives each piece a buffer: so many are a turn's.
    auto loop = open_loop({.receive_buffer_size = limits::direct_transfer,
                           .features = {.incremental_buffers = false}});
    StreamPair pair{*loop};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        const std::string text = std::string(4 * large, 'w') + "small";
        for (int i = 0; i < 4; ++i) {
            put(sockets.far, text);
            CHECK(co_await read_exactly(sockets.near, text.size()) == text);
        }
        CHECK(on.statistics().direct > 0);
    }(*loop, pair));
}

TEST_CASE("a socket that is asked anew for another reason is not polled sooner") {
    auto loop = open_loop();
    StreamPair pair{*loop};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        for (int i = 0; i < limits::direct_after / 2 - 1; ++i) {
            put(sockets.far, std::string(large, 'w'));
            CHECK((co_await read_exactly(sockets.near, large)).size() == large);
            sockets.near.receiver().pause();
            (void)co_await on.sleep(Milliseconds{1});
        }
        put(sockets.far, "small");
        CHECK(co_await read_exactly(sockets.near, 5) == "small");
        CHECK(on.statistics().direct == 0);
    }(*loop, pair));
}

TEST_CASE("one large piece among small ones leaves a socket to the ring") {
    auto loop = open_loop();
    StreamPair pair{*loop};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        for (int i = 0; i < 20; ++i) {
            put(sockets.far, std::string(large, 'w'));
            CHECK((co_await read_exactly(sockets.near, large)).size() == large);
            for (int small = 0; small < 2; ++small) {
                put(sockets.far, "small");
                CHECK(co_await read_exactly(sockets.near, 5) == "small");
            }
        }
        CHECK(on.statistics().direct == 0);
    }(*loop, pair));
}

TEST_CASE("over TCP no call is made in vain, however long the pieces are") {
    auto loop = open_loop();
    StreamPair pair{*loop, testing::tcp_pair()};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        co_await make_direct(on, sockets);
        for (const std::size_t size : {large, limits::receive_buffer_size.count}) {
            const std::uint64_t before = on.statistics().direct;
            std::uint64_t chunks = 0;
            put(sockets.far, std::string(size, 'b'));
            // Of bytes that come while others are received the kernel tells although they are
            // taken.
            for (int there = 0; there < static_cast<int>(size);) {
                (void)co_await on.sleep(Milliseconds{1});
                ensure(::ioctl(sockets.near.fd(), FIONREAD, &there) == 0, "FIONREAD");
            }
            for (std::size_t got = 0; got < size; ++chunks)
                got += (co_await sockets.near.receive()).value().size();
            // For which something that is left would be received.
            CHECK(
                (co_await sockets.near.receive(Milliseconds{5})).error().is(std::errc::timed_out));
            CHECK(on.statistics().direct == before + chunks);
        }
    }(*loop, pair));
}

TEST_CASE("a receive that ends at descriptors or at urgent data is not taken for the last") {
    auto loop = open_loop();
    const bool urgent = GENERATE(true, false);
    CAPTURE(urgent);
    StreamPair pair{*loop, urgent ? testing::tcp_pair() : testing::socket_pair()};
    loop->run([](Loop& on, StreamPair& sockets, bool by_tcp) -> Task<> {
        co_await make_direct(on, sockets);
        const std::string text(large, 't');
        const auto files = open_files();
        std::size_t sent = large;
        if (by_tcp) {
            ensure(::send(sockets.far.get(), text.data(), large, MSG_OOB) == ssize_t{large},
                   "send");
            --sent;  // the urgent byte is not in the stream
        } else {
            iovec piece{.iov_base = const_cast<char*>(text.data()), .iov_len = large};
            alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
            msghdr message{};
            message.msg_iov = &piece;
            message.msg_iovlen = 1;
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            cmsghdr& passed = *CMSG_FIRSTHDR(&message);
            passed = {.cmsg_len = CMSG_LEN(sizeof(int)),
                      .cmsg_level = SOL_SOCKET,
                      .cmsg_type = SCM_RIGHTS};
            const int fd = sockets.far.get();
            std::memcpy(CMSG_DATA(&passed), &fd, sizeof fd);
            ensure(::sendmsg(sockets.far.get(), &message, 0) == ssize_t{large}, "sendmsg");
        }
        put(sockets.far, text);
        sent += large;
        std::size_t got = 0;
        while (got < sent) {
            const auto chunk = co_await sockets.near.receive(Milliseconds{5'000});
            CHECK(chunk.has_value());
            if (!chunk) break;
            got += chunk->size();
        }
        CHECK(got == sent);
        CHECK(open_files() == files);  // what was passed is nobody's
    }(*loop, pair, urgent));
}

TEST_CASE("the end of a stream is received behind what is large, whether it comes with it or not") {
    auto loop = open_loop();
    const bool together = GENERATE(true, false);
    const bool over_tcp = GENERATE(true, false);
    const std::size_t size = GENERATE(large, large - 1, std::size_t{1});
    CAPTURE(together, over_tcp, size);
    StreamPair pair{*loop, over_tcp ? testing::tcp_pair() : testing::socket_pair()};
    loop->run([](Loop& on, StreamPair& sockets, bool at_once, std::size_t bytes) -> Task<> {
        co_await make_direct(on, sockets);
        put(sockets.far, std::string(bytes, 'l'));
        if (at_once) sockets.far.close();
        CHECK((co_await read_exactly(sockets.near, bytes)).size() == bytes);
        if (!at_once) {
            (void)co_await on.sleep(Milliseconds{1});
            sockets.far.close();
        }
        for (int again = 0; again < 2; ++again) {
            const auto end = co_await sockets.near.receive(Milliseconds{5'000});
            CHECK((end.has_value() && end->empty()));
        }
        CHECK(sockets.near.receiver().ended());
        (void)co_await on.sleep(Milliseconds{1});
        CHECK_FALSE(sockets.near.receiver().armed());  // nothing more is asked of the kernel
    }(*loop, pair, together, size));
}

TEST_CASE("a reset is told to a socket that receives what is large") {
    auto loop = open_loop();
    StreamPair pair{*loop, testing::tcp_pair()};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        co_await make_direct(on, sockets);
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        ensure(
            ::setsockopt(sockets.far.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0,
            "SO_LINGER");
        sockets.far.close();
        const auto end = co_await sockets.near.receive(Milliseconds{5'000});
        CHECK((!end && end.error().is(std::errc::connection_reset)));
        CHECK(sockets.near.receiver().failure().has_value());
    }(*loop, pair));
}

TEST_CASE("a receive of what is large loses nothing when it is cancelled or its limit passes") {
    auto loop = open_loop();
    StreamPair pair{*loop};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        co_await make_direct(on, sockets);
        const auto late = co_await sockets.near.receive(Milliseconds{5});
        CHECK((!late && late.error().is(std::errc::timed_out)));
        std::optional<Result<uring::Lease>> out;
        {
            coro::Scope scope{co_await coro::current_context()};
            scope.spawn(receive_into(sockets.near, out));
            (void)co_await on.sleep(Milliseconds{1});
            put(sockets.far, std::string(large, 'l'));
            scope.cancel();
            co_await scope.join();
        }
        CHECK((!*out && out->error().is(std::errc::operation_canceled)));
        (void)co_await on.sleep(Milliseconds{1});
        CHECK((co_await read_exactly(sockets.near, large)).size() == large);
    }(*loop, pair));
}

TEST_CASE("a paused receiver of what is large leaves it in the socket") {
    auto loop = open_loop();
    StreamPair pair{*loop};
    loop->run([](Loop& on, StreamPair& sockets) -> Task<> {
        co_await make_direct(on, sockets);
        const std::string text(large, 'l');
        put(sockets.far, text);
        (void)co_await on.sleep(Milliseconds{1});
        sockets.near.receiver().pause();
        const auto rest = co_await sockets.near.receive_rest();
        CHECK((rest.has_value() && rest->empty()));
        CHECK_FALSE(sockets.near.receiver().ended());
        CHECK_FALSE(sockets.near.receiver().armed());
        std::string there(large, ' ');
        CHECK(::recv(sockets.near.fd(), there.data(), large, MSG_DONTWAIT | MSG_PEEK) ==
              static_cast<ssize_t>(large));
        CHECK(co_await read_exactly(sockets.near, large) == text);
        co_await make_direct(on, sockets);
    }(*loop, pair));
}

TEST_CASE("sockets close while what is large waits for them, and while they wait for it") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        for (int i = 0; i < 3; ++i) {
            StreamPair pair{on};
            co_await make_direct(on, pair);
            if (i == 0) continue;
            put(pair.far, std::string(large, 'l'));
            if (i == 2) (void)co_await on.sleep(Milliseconds{1});
        }
    }(*loop));
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("a socket whose turn to receive is next is destroyed by who has just received") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        std::array<std::unique_ptr<StreamPair>, 3> pairs;
        for (auto& pair : pairs) {
            pair = std::make_unique<StreamPair>(on);
            co_await make_direct(on, *pair);
        }
        coro::Scope others{co_await coro::current_context()};
        std::array<std::optional<Result<uring::Lease>>, 3> got;
        coro::Scope first{co_await coro::current_context()};
        first.spawn([](auto& all, auto& out, coro::Scope& scope) -> Task<> {
            out[0].emplace(co_await all[0]->near.receive());
            scope.cancel();
            co_await scope.join();
            all[1].reset();
            all[2].reset();
        }(pairs, got, others));
        for (std::size_t i : {1U, 2U}) others.spawn(receive_into(pairs[i]->near, got[i]));
        (void)co_await on.sleep(Milliseconds{1});  // all of them wait
        for (const auto& pair : pairs) put(pair->far, std::string(large, 'l'));
        co_await first.join();
        CHECK((got[0].has_value() && got[0]->has_value()));
        for (std::size_t i : {1U, 2U})
            CHECK((!*got[i] && got[i]->error().is(std::errc::operation_canceled)));
        got = {};
    }(*loop));
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE(
    "a receive that is cancelled in the turn in which its socket has something loses nothing") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        StreamPair signal{on};
        StreamPair pair{on};
        co_await make_direct(on, pair);
        std::optional<Result<uring::Lease>> out;
        coro::Scope waiting{co_await coro::current_context()};
        waiting.spawn(receive_into(pair.near, out));
        coro::Scope canceller{co_await coro::current_context()};
        canceller.spawn([](Socket& socket, coro::Scope& scope) -> Task<> {
            CHECK((co_await socket.receive()).has_value());
            scope.cancel();  // before what is large is received in this turn
        }(signal.near, waiting));
        (void)co_await on.sleep(Milliseconds{1});
        put(pair.far, std::string(large, 'l'));
        put(signal.far, "now");
        co_await canceller.join();
        co_await waiting.join();
        CHECK((!*out && out->error().is(std::errc::operation_canceled)));
        CHECK((co_await read_exactly(pair.near, large)).size() == large);
    }(*loop));
}

TEST_CASE("what is large is received although tasks never let the others be") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        std::vector<std::unique_ptr<StreamPair>> pairs;
        for (int i = 0; i < 4; ++i) pairs.push_back(std::make_unique<StreamPair>(on));
        for (const auto& pair : pairs) co_await make_direct(on, *pair);
        // Each of two goes on at once when it has let the other go on, for the whole of every turn.
        bool done = false;
        coro::Event always;
        always.set();
        coro::Scope busy{co_await coro::current_context()};
        for (int i = 0; i < 2; ++i)
            busy.spawn([](bool& end, coro::Event& ready) -> Task<> {
                while (!end) (void)co_await ready.wait();
            }(done, always));
        coro::Scope readers{co_await coro::current_context()};
        for (const auto& pair : pairs) {
            put(pair->far, std::string(2 * limits::receive_buffer_size.count, 'l'));
            readers.spawn([](Socket& socket) -> Task<> {
                constexpr std::size_t all = 2 * limits::receive_buffer_size.count;
                CHECK((co_await read_exactly(socket, all)).size() == all);
            }(pair->near));
        }
        co_await readers.join();
        done = true;
        co_await busy.join();
    }(*loop));
}

TEST_CASE("who is received for behind tasks that have had their turn posts with the next") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        StreamPair pair{on};
        co_await make_direct(on, pair);
        bool done = false;
        coro::Event always;
        always.set();
        coro::Scope tasks{co_await coro::current_context()};
        // Each of two goes on at once when it has let the other go on, for the whole of every turn.
        for (int i = 0; i < 2; ++i)
            tasks.spawn([](bool& end, coro::Event& ready) -> Task<> {
                while (!end) (void)co_await ready.wait();
            }(done, always));
        const std::uint64_t before = on.statistics().direct;
        put(pair.far, std::string(large, 'l'));
        auto chunk = co_await pair.near.receive();
        CHECK(on.statistics().direct == before + 1);
        CHECK((co_await pair.near.post(*std::move(chunk))).has_value());
        CHECK(pair.near.unsent() == large);  // nothing was sent while it was posted
        CHECK((co_await pair.near.flush()).has_value());
        CHECK(read_now(pair.far) == std::string(large, 'l'));
        done = true;
        co_await tasks.join();
    }(*loop));
}

TEST_CASE("who has no turn to receive any more has the first one of the next") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        constexpr std::size_t count = 2 * limits::direct_per_reading + 1;
        constexpr int rounds = 3;
        std::vector<std::unique_ptr<StreamPair>> pairs;
        for (std::size_t i = 0; i < count; ++i) pairs.push_back(std::make_unique<StreamPair>(on));
        for (const auto& pair : pairs) co_await make_direct(on, *pair);
        std::vector<std::size_t> order;
        coro::Scope readers{co_await coro::current_context()};
        const std::string text(large, 'l');
        for (std::size_t i = 0; i < count; ++i)
            readers.spawn([](StreamPair& pair, std::size_t self, auto& all, auto& piece) -> Task<> {
                for (int round = 0; round < rounds; ++round) {
                    CHECK((co_await pair.near.receive()).value().size() == large);
                    all.push_back(self);
                    if (round + 1 < rounds) put(pair.far, piece);
                    // All the time that there is for a turn's receives.
                    const Instant end = now() + limits::run_time_per_turn_ms;
                    while (now() < end) continue;
                }
            }(*pairs[i], i, order, text));
        (void)co_await on.sleep(Milliseconds{1});  // all of them wait
        const std::uint64_t turns = on.statistics().turns;
        for (const auto& pair : pairs) put(pair->far, text);
        co_await readers.join();
        CHECK(order.size() == count * rounds);
        for (std::size_t i = count; i < order.size(); ++i) CHECK(order[i] == order[i - count]);
        CHECK(on.statistics().turns - turns >= count * rounds / limits::direct_per_reading);
    }(*loop));
}

TEST_CASE("a turn's receives end with the first reading of the clock that finds no time left") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        constexpr std::size_t count = 3 * limits::direct_per_reading;
        std::vector<std::unique_ptr<StreamPair>> pairs;
        for (std::size_t i = 0; i < count; ++i) pairs.push_back(std::make_unique<StreamPair>(on));
        for (const auto& pair : pairs) co_await make_direct(on, *pair);
        std::map<std::uint64_t, std::size_t> served;  // by turn
        coro::Scope readers{co_await coro::current_context()};
        for (const auto& pair : pairs)
            readers.spawn([](Loop& in, Socket& socket, auto& counts) -> Task<> {
                CHECK((co_await socket.receive()).value().size() == large);
                ++counts[in.statistics().turns];
                // All the time that there is for a turn's receives.
                const Instant end = now() + limits::run_time_per_turn_ms;
                while (now() < end) continue;
            }(on, pair->near, served));
        (void)co_await on.sleep(Milliseconds{1});  // all of them wait
        for (const auto& pair : pairs) put(pair->far, std::string(large, 'l'));
        co_await readers.join();
        for (const auto& [turn, receives] : served) CHECK(receives <= limits::direct_per_reading);
    }(*loop));
}

TEST_CASE("a service that stalls when it has received what is large is named in the log") {
    const testing::CapturedLog log;
    auto loop = open_loop();
    loop->run([](Loop& on, const testing::CapturedLog& lines) -> Task<> {
        const coro::Label slow{"service slow"};
        StreamPair pair{on};
        co_await make_direct(on, pair);
        coro::Scope readers{co_await coro::current_context(), &slow};
        readers.spawn([](Socket& socket) -> Task<> {
            while (!(co_await socket.receive()).value().empty()) {
                const Instant end = now() + limits::stall_ms;
                while (now() < end) continue;
            }
        }(pair.near));
        (void)co_await on.sleep(Milliseconds{1});  // it waits
        put(pair.far, std::string(large, 'l'));
        (void)co_await on.sleep(Milliseconds{1});
        // By the end of the turn, though nothing else has gone on in it.
        CHECK(lines.lines() == 1);
        CHECK(lines.text().find("service slow") != std::string::npos);
        pair.far.close();
        co_await readers.join();
    }(*loop, log));
    CHECK(log.lines() == 1);
}

TEST_CASE("a pool that lends no buffer leaves what is large to the ring") {
    // All are the kernel's; or others hold those that are not.
    const std::uint32_t most = GENERATE(2U, 3U);
    CAPTURE(most);
    auto loop = open_loop({.receive_buffers = 2, .max_receive_buffers = most});
    loop->run([](Loop& on, bool lends) -> Task<> {
        StreamPair holder{on};
        StreamPair pair{on};
        std::vector<uring::Lease> held;
        if (lends) {
            co_await make_direct(on, pair);
            co_await make_direct(on, holder);
            held.push_back(co_await piece_of(holder, large));
        }
        const uring::LoopStatistics before = on.statistics();
        const std::string text(large, 'l');
        for (int i = 0; i < 20; ++i) {
            put(pair.far, text);
            CHECK(co_await read_exactly(pair.near, large) == text);
        }
        CHECK(on.statistics().direct == before.direct);
        // Nor is the kernel asked for one and the other in turn: a completion for each piece, or
        // two where the buffer ends in it.
        CHECK(on.statistics().completions - before.completions < 60);
    }(*loop, most > 2));
}

TEST_CASE("a large piece is sent at once, where it was received by a call of its own") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        StreamPair from{on};
        StreamPair to{on};
        auto early = co_await piece_of(from, large);
        CHECK((co_await to.near.post(std::move(early))).has_value());
        CHECK(to.near.unsent() == large);
        CHECK(read_now(to.far).empty());  // it goes with the turn's others
        CHECK((co_await to.near.flush()).has_value());
        CHECK(read_now(to.far).size() == large);
        co_await make_direct(on, from);
        auto piece = co_await piece_of(from, large);
        CHECK((co_await to.near.post(std::move(piece))).has_value());
        CHECK(to.near.unsent() == 0);
        CHECK(read_now(to.far).size() == large);  // in the same turn
        piece = co_await piece_of(from, large);
        (void)co_await on.sleep(Milliseconds{1});  // and goes on with others, in another turn
        CHECK((co_await to.near.post(std::move(piece))).has_value());
        CHECK(to.near.unsent() == large);
        CHECK((co_await to.near.flush()).has_value());
        CHECK(read_now(to.far).size() == large);
    }(*loop));
}

TEST_CASE("a large piece goes behind what was posted before it") {
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        StreamPair from{on};
        StreamPair to{on};
        auto first = co_await piece_of(from, 5);
        co_await make_direct(on, from);
        auto third = co_await piece_of(from, 3);
        auto second = co_await piece_of(from, large);
        for (auto* piece : {&first, &second, &third})
            CHECK((co_await to.near.post(std::move(*piece))).has_value());
        CHECK(read_now(to.far).empty());
        CHECK((co_await to.near.flush()).has_value());
        CHECK(read_now(to.far).size() == 5 + large + 3);
    }(*loop));
}

/// Posts large pieces to `to` until its socket does not take all; returns how many bytes.
Task<std::size_t> fill(StreamPair& from, StreamPair& to) {
    std::size_t posted = 0;
    for (int i = 0; i < 64 && to.near.unsent() == 0; ++i) {
        CHECK((co_await to.near.post(co_await piece_of(from, large))).has_value());
        posted += large;
    }
    CHECK(to.near.unsent() > 0);
    co_return posted;
}

/// Reads what comes from `to` until that is `size` bytes.
Task<> drain(Loop& on, StreamPair& to, std::size_t size, std::string& got) {
    for (int i = 0; i < 5'000 && got.size() < size; ++i) {
        got += read_now(to.far);
        (void)co_await on.sleep(Milliseconds{1});
    }
}

TEST_CASE("of a large piece the rest goes when the socket takes it") {
    auto loop = open_loop();
    enum class Next : std::uint8_t { post, flush, move };
    const auto next = GENERATE(Next::post, Next::flush, Next::move);
    CAPTURE(static_cast<int>(next));
    loop->run([](Loop& on, Next what) -> Task<> {
        StreamPair from{on};
        StreamPair to{on};
        co_await make_direct(on, from);
        std::size_t posted = co_await fill(from, to);
        if (what == Next::post) {  // a second one behind it
            CHECK((co_await to.near.post(co_await piece_of(from, large))).has_value());
            posted += large;
        }
        std::optional<Socket> moved;
        if (what == Next::move) moved.emplace(std::move(to.near));
        Socket& near = moved ? *moved : to.near;
        std::string got;
        coro::Scope reader{co_await coro::current_context()};
        reader.spawn(drain(on, to, posted, got));
        if (what == Next::flush) CHECK((co_await near.flush()).has_value());
        co_await reader.join();
        CHECK(got == std::string(posted, 'p'));
        CHECK((co_await near.flush()).has_value());
        CHECK(near.unsent() == 0);
    }(*loop, next));
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("a socket that closes with the rest of a large piece waits for no room") {
    auto loop = open_loop();
    StreamPair to{*loop};
    std::size_t posted = 0;
    loop->run([](Loop& on, StreamPair& sockets, std::size_t& bytes) -> Task<> {
        StreamPair from{on};
        co_await make_direct(on, from);
        bytes = co_await fill(from, sockets);
        sockets.near.close();
        (void)co_await on.sleep(Milliseconds{5});
        CHECK(on.buffers().leased() == 0);
    }(*loop, to, posted));
    const std::string got = read_now(to.far);
    CHECK((got.size() < posted && got == std::string(got.size(), 'p')));
    char byte = 0;
    CHECK(::recv(to.far.get(), &byte, 1, MSG_DONTWAIT) == 0);  // closed, and the rest is dropped
}

TEST_CASE("a large piece that cannot be sent is told of by the next, and at once by the hook") {
    struct Hook : uring::SendFailureHook {
        Hook()
            : SendFailureHook{[](SendFailureHook& self, const Error& error) noexcept {
                  static_cast<Hook&>(self).told = error;
              }} {}
        std::optional<Error> told;
    };
    auto loop = open_loop();
    loop->run([](Loop& on) -> Task<> {
        StreamPair from{on};
        StreamPair to{on};
        co_await make_direct(on, from);
        Hook hook;
        to.near.on_send_failure(&hook);
        to.far.close();
        CHECK((co_await to.near.post(co_await piece_of(from, large))).has_value());
        CHECK((hook.told && hook.told->is(std::errc::broken_pipe)));
        const auto flushed = co_await to.near.flush();
        CHECK((!flushed && flushed.error().is(std::errc::broken_pipe)));
        const auto again = co_await to.near.post(co_await piece_of(from, 5));
        CHECK((!again && again.error().is(std::errc::broken_pipe)));
    }(*loop));
    CHECK(loop->buffers().leased() == 0);
}
