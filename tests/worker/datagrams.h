/// What the tests of datagrams need: services, sockets of UDP, a worker. Include it after the
/// imports and `services.h`.
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "hired.h"

namespace testing::datagrams {

/// The master's socket: the test keeps it, the worker gets a copy.
struct Mailbox {
    ringfort::Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ringfort::Address address;
    explicit Mailbox(const char* at = "127.0.0.1:0") {
        const auto any = ringfort::Address::parse(at).value();
        const int on = 1;
        ringfort::ensure(::setsockopt(socket.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0,
                         "");
        ringfort::ensure(::bind(socket.get(), any.data(), any.size()) == 0, "bind");
        address = ringfort::Address::of_socket(socket.get()).value();
    }
    void send_to(const ringfort::Address& to, std::string_view text) const {
        REQUIRE(::sendto(socket.get(), text.data(), text.size(), 0, to.data(), to.size()) ==
                static_cast<ssize_t>(text.size()));
    }
    /// Waits until the worker has received all that was sent here; false when it does not.
    [[nodiscard]] bool is_emptied() const {
        const ringfort::Instant end = ringfort::now() + ringfort::Milliseconds{3'000};
        while (readable(socket.get(), 0))
            if (ringfort::now() > end || ::usleep(1'000) != 0) return false;
        return true;
    }
};

class Sender {
public:
    explicit Sender(const ringfort::Address& to) {
        const timeval limit{.tv_sec = deadline_seconds, .tv_usec = 0};
        (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        const int room = 8 << 20;
        (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        REQUIRE(::connect(socket_.get(), to.data(), to.size()) == 0);
    }
    void send(std::string_view text) {
        REQUIRE(::send(socket_.get(), text.data(), text.size(), 0) ==
                static_cast<ssize_t>(text.size()));
    }
    /// Receives a datagram; "(nothing)" when none comes.
    [[nodiscard]] std::string receive() {
        std::string got(2'000, '\0');
        const auto size = ::recv(socket_.get(), got.data(), got.size(), 0);
        if (size < 0) return "(nothing)";
        got.resize(static_cast<std::size_t>(size));
        return got;
    }
    [[nodiscard]] bool has_answer() const { return readable(socket_.get(), 0); }
    [[nodiscard]] std::string ask(std::string_view text) {
        send(text);
        return receive();
    }

private:
    ringfort::Fd socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

/// Sends back what it gets.
struct Mirror {
    Served on_datagram(ringfort::net::Delivery datagram, ringfort::worker::Context&) {
        co_return co_await datagram.reply(datagram.bytes());
    }
};
static_assert(ringfort::worker::Serves<Mirror> && !ringfort::worker::TakesConnections<Mirror>);
static_assert(ringfort::worker::Serves<Echo> && !ringfort::worker::TakesDatagrams<Echo>);

/// Sends back what it gets when its worker drains, and not before.
struct Late {
    Served on_datagram(ringfort::net::Delivery datagram, ringfort::worker::Context& context) {
        const auto waited = co_await context.draining().wait();
        if (!waited) co_return waited.error();
        co_return co_await datagram.reply(datagram.bytes());
    }
};

/// Throws at "throw", fails at "fail", waits for the drain at "wait"; sends back all else.
struct Moody {
    Served on_datagram(ringfort::net::Delivery datagram, ringfort::worker::Context& context) {
        if (datagram.packet().bytes.text() == "wait") (void)co_await context.draining().wait();
        if (datagram.packet().bytes.text() == "throw") throw std::runtime_error{"thrown"};
        if (datagram.packet().bytes.text() == "fail") co_return ringfort::Error{"a test", EINVAL};
        co_return co_await datagram.reply(datagram.bytes());
    }
};

/// Says, when its worker drains, how many of its tasks there have been at a time.
struct Crowd {
    std::uint32_t tasks = 0;
    std::uint32_t most = 0;

    Served on_datagram(ringfort::net::Delivery datagram, ringfort::worker::Context& context) {
        most = std::max(most, ++tasks);
        const auto waited = co_await context.draining().wait();
        --tasks;
        if (!waited) co_return waited.error();
        const std::string answer = std::to_string(most);
        co_return co_await datagram.reply(std::as_bytes(std::span{answer}));
    }
};

/// Waits until it is cancelled, and makes nothing of it, which many would fill the log with. "go"
/// waits for the drain.
struct Never {
    Served on_datagram(ringfort::net::Delivery datagram, ringfort::worker::Context& context) {
        if (datagram.packet().bytes.text() == "go") co_return co_await context.draining().wait();
        (void)co_await context.loop().sleep(ringfort::Milliseconds{60'000});
        co_return {};
    }
};

/// Answers when it is told to, and until then nothing.
struct Gate {
    std::unique_ptr<ringfort::coro::Event> opened = std::make_unique<ringfort::coro::Event>();

    Served on_datagram(ringfort::net::Delivery datagram, ringfort::worker::Context&) {
        if (datagram.packet().bytes.text() == "open") opened->set();
        const auto waited = co_await opened->wait();
        if (!waited) co_return waited.error();
        co_return co_await datagram.reply(datagram.bytes());
    }
};

inline ringfort::worker::Options options() {
    ringfort::worker::Options made;
    made.services.emplace("crowd", make<Crowd>());
    made.services.emplace("gate", make<Gate>());
    made.services.emplace("never", make<Never>());
    made.services.emplace("mirror", make<Mirror>());
    made.services.emplace("late", make<Late>());
    made.services.emplace("moody", make<Moody>());
    made.services.emplace("echo", make<Echo>());
    return made;
}

struct Serving {
    CounterZone zone;
    Mailbox mailbox;
    Hired worker{options()};

    explicit Serving(const char* service = "mirror", const char* at = "127.0.0.1:0") : mailbox{at} {
        worker.give(zone.zone);
        give(mailbox, service, 0);
        worker.start();
        (void)worker.receive<ringfort::channel::Ready>();
    }
    void give(const Mailbox& box, const char* service, std::uint32_t id) {
        worker.send(
            ringfort::channel::AddListener{.id = id, .service = service, .address = box.address},
            box.socket.duplicate().value());
    }
    [[nodiscard]] std::uint64_t counted(ringfort::worker::Counter counter) const {
        return zone.counters.get(2, counter);
    }
    /// Has the worker receive so many datagrams; those beyond what is dealt with at a time are
    /// received ahead.
    void fill(Sender& sender, std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            sender.send("x");
            // The socket's own room is small.
            if (i % 64 == 63 || i + 1 == count) REQUIRE(mailbox.is_emptied());
        }
        // The order to take a listener in is obeyed when those before it have been dealt with.
        const Mailbox other;
        give(other, "mirror", 1);
        CHECK(Sender{other.address}.ask("obeyed") == "obeyed");
    }
    void begin_drain(ringfort::Milliseconds time = ringfort::Milliseconds{60'000}) {
        worker.send(ringfort::channel::Drain{time});
        (void)worker.receive<ringfort::channel::Draining>();
    }
};

}  // namespace testing::datagrams
