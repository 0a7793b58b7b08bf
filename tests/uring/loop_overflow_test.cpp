#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
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

#include "../net/listener.h"
#include "sockets.h"
#include "stream_pair.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using uring::Loop;

namespace {

/// A loop whose completion queue has room for eight.
std::unique_ptr<Loop> open_loop() {
    return Loop::open({.submissions = 8, .completions = 8}).value();
}

struct Pair : testing::StreamPair {
    using StreamPair::StreamPair;
    std::string received;
};

Task<> receive_all(Pair& pair) {
    for (;;) {
        const auto chunk = co_await pair.near.receive();
        ensure(chunk.has_value(), "receive");
        if (chunk->empty()) co_return;
        pair.received += chunk->text();
    }
}

}  // namespace

TEST_CASE("hundreds of completions at once do not fit, and none of them is lost") {
    auto loop = open_loop();
    std::vector<std::pair<Fd, Fd>> pairs;
    for (int i = 0; i < 300; ++i) pairs.push_back(testing::socket_pair());
    auto wait = [](Loop& on, const Fd& fd, int& woken) -> Task<> {
        const auto events = co_await on.poll(fd.get(), POLLIN);
        if (events && (*events & POLLIN) != 0) ++woken;
    };
    auto body = [&wait](Loop& on, std::vector<std::pair<Fd, Fd>>& all) -> Task<int> {
        int woken = 0;
        coro::Scope scope{co_await coro::current_context()};
        for (auto& [near, far] : all) scope.spawn(wait(on, near, woken));
        (void)co_await on.sleep(Milliseconds{5});
        for (auto& [near, far] : all) put(far, "x");  // all in one resumption: nothing is entered
        co_await scope.join();
        co_return woken;
    };
    CHECK(loop->run(body(*loop, pairs)) == 300);
    // The soft ring leaves what is ready where it is instead.
    if (loop->backend() == uring::Backend::io_uring) CHECK(loop->statistics().overflows > 0);
}

TEST_CASE("receives that an overflow has ended are asked for again, and no byte is lost") {
    auto loop = open_loop();
    std::vector<std::unique_ptr<Pair>> pairs;
    for (int i = 0; i < 200; ++i)
        pairs.push_back(std::make_unique<Pair>(*loop, testing::socket_pair()));
    auto body = [](Loop& on, std::vector<std::unique_ptr<Pair>>& all) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        for (auto& pair : all) scope.spawn(receive_all(*pair));
        (void)co_await on.sleep(Milliseconds{5});
        for (int round = 0; round < 20; ++round) {
            for (auto& pair : all) put(pair->far, std::to_string(round) + ";");
            (void)co_await on.sleep(Milliseconds{round % 3 == 0 ? 1 : 0});
        }
        for (auto& pair : all) pair->far.close();
        co_await scope.join();
    };
    loop->run(body(*loop, pairs));
    std::string expected;
    for (int round = 0; round < 20; ++round) expected += std::to_string(round) + ";";
    int right = 0;
    for (const auto& pair : pairs)
        if (pair->received == expected) ++right;
    CHECK(right == 200);
    // The soft ring leaves bytes in the sockets instead.
    if (loop->backend() == uring::Backend::io_uring) CHECK(loop->statistics().overflows > 0);
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("an accept does not wait for senders that are always ready and fill the submissions") {
    auto loop = Loop::open({.submissions = 16}).value();
    const testing::Listener listener;
    std::vector<std::pair<Fd, Fd>> pairs;
    for (int i = 0; i < 64; ++i) pairs.push_back(testing::socket_pair());
    // So few bytes that the sockets take them all without anybody reading.
    auto sender = [](Loop& on, RawFd to, int& turns) -> Task<> {
        for (turns = 0; turns < 150; ++turns)
            ensure((co_await on.send(to, std::as_bytes(std::span{"x", 1}))).has_value(), "send");
    };
    auto body = [&sender](Loop& on, const testing::Listener& from,
                          std::vector<std::pair<Fd, Fd>>& all) -> Task<int> {
        coro::Scope scope{co_await coro::current_context()};
        std::vector<int> turns(all.size());
        const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        auto accept = [](Loop& in, RawFd listener, const int& sent, int& out) -> Task<> {
            ensure((co_await in.accept(listener)).has_value(), "accept");
            out = sent;
        };
        int accepted = -1;
        scope.spawn(accept(on, from.socket.get(), turns[0], accepted));
        (void)co_await on.sleep(Milliseconds{1});
        for (std::size_t i = 0; i < all.size(); ++i)
            scope.spawn(sender(on, all[i].first.get(), turns[i]));
        ensure(::connect(client.get(), from.address.data(), from.address.size()) == 0, "connect");
        co_await scope.join();
        co_return accepted;
    };
    const int accepted = loop->run(body(*loop, listener, pairs));
    CHECK(accepted >= 0);
    CHECK(accepted < 10);
}

TEST_CASE("cancellations that find the queues full reach their operations all the same") {
    auto loop = open_loop();
    std::vector<std::pair<Fd, Fd>> pairs;
    for (int i = 0; i < 200; ++i) pairs.push_back(testing::socket_pair());
    auto wait = [](Loop& on, const Fd& fd, int& cancelled) -> Task<> {
        const auto events = co_await on.poll(fd.get(), POLLIN);
        if (!events && events.error().is(std::errc::operation_canceled)) ++cancelled;
    };
    auto body = [&wait](Loop& on, std::vector<std::pair<Fd, Fd>>& all) -> Task<int> {
        int cancelled = 0;
        coro::Scope scope{co_await coro::current_context()};
        for (auto& [near, far] : all) scope.spawn(wait(on, near, cancelled));
        (void)co_await on.sleep(Milliseconds{5});
        scope.cancel();
        co_await scope.join();
        co_return cancelled;
    };
    CHECK(loop->run(body(*loop, pairs)) == 200);
    CHECK(loop->statistics().overflows > 0);
}

TEST_CASE("messages that an overflow interrupts come all, in their order") {
    auto loop = open_loop();
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
    auto body = [](Loop& on, Fd near, Fd far) -> Task<int> {
        auto stream = uring::MessageStream::open(on, near.get()).value();
        int next = 0;
        for (int round = 0; round < 20; ++round) {
            // As many as the socket's queue takes at once (net.unix.max_dgram_qlen).
            int sent = 0;
            while (sent < 100) {
                const std::string text = std::to_string(next + sent);
                if (::send(far.get(), text.data(), text.size(), MSG_DONTWAIT) < 0) break;
                ++sent;
            }
            ensure(sent > 8, "more than the completion queue holds");
            for (; sent > 0; --sent, ++next) {
                const auto message = co_await stream.next(Milliseconds{2'000});
                ensure(message.has_value(), "receive");
                ensure(message->bytes.text() == std::to_string(next), "out of order");
            }
        }
        co_return next;
    };
    CHECK(loop->run(body(*loop, Fd{ends[0]}, Fd{ends[1]})) > 160);
    if (loop->backend() == uring::Backend::io_uring) CHECK(loop->statistics().overflows > 0);
    CHECK(loop->message_buffers().leased() == 0);
}
