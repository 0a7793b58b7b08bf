// What services of different workers tell each other.
#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <compare>
#include <coroutine>
#include <csignal>
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
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.net;
import ringfort.shm;
import ringfort.uring;
import ringfort.worker;

#include "services.h"

#include "hired.h"

using namespace ringfort;
using testing::Client;
using testing::Hired;
using testing::Serving;
using worker::Counter;

namespace {

constexpr worker::PeerId self{.generation = 7, .slot = 3};
constexpr worker::PeerId other{.generation = 7, .slot = 4};

/// The end of a channel to a worker that another worker has, with the test as that other one.
struct Sibling {
    channel::Channel end;

    explicit Sibling(Hired& worker, bool greets = true) : end{open(worker)} {
        if (greets) say(channel::Hello{.slot = other.slot, .generation = other.generation});
        (void)hear<channel::Hello>();
    }
    static channel::Channel open(Hired& worker) {
        auto [mine, theirs] = channel::Channel::pair().value();
        worker.send(channel::OpenPeer{.slot = other.slot, .generation = other.generation},
                    std::move(theirs).release());
        return std::move(mine);
    }
    void say(const channel::Message& message, channel::Fds fds = {}) {
        REQUIRE(end.send(message, std::move(fds)));
    }
    template <class Expected>
    Expected hear() {
        REQUIRE(testing::readable(end.fd()));
        auto received = end.receive();
        REQUIRE(received);
        REQUIRE(*received);
        const auto* expected = std::get_if<Expected>(&(*received)->message);
        REQUIRE(expected != nullptr);
        return *expected;
    }
    [[nodiscard]] bool is_closed() {
        if (!testing::readable(end.fd())) return false;
        const auto received = end.receive();
        return !received && received.error().is(std::errc::connection_reset);
    }
};

/// Asks a gossip until it has heard that: it hears in its own time.
bool has_heard(const testing::Listener& listener, const std::string& what) {
    Client client{listener};
    const auto end = now() + Milliseconds{testing::deadline_seconds * 1'000};
    while (now() < end) {
        client.send("?");
        if (client.line() == what) return true;
    }
    return false;
}

}  // namespace

TEST_CASE("what a service tells its siblings reaches those of its name") {
    Serving one{"gossip"}, two{"gossip"};
    auto [first, second] = channel::Channel::pair().value();
    const channel::OpenPeer each_other{.slot = self.slot, .generation = self.generation};
    one.worker.send(each_other, std::move(first).release());
    two.worker.send(each_other, std::move(second).release());
    REQUIRE(testing::reads(one.worker.errors(), "channel to worker 3 open"));
    REQUIRE(testing::reads(two.worker.errors(), "channel to worker 3 open"));
    Client talker{one.listener};
    talker.send("news");
    CHECK(talker.receives("1 peers, told 1\n"));
    CHECK(has_heard(two.listener, "5 news from 3;"));
    CHECK(has_heard(one.listener, ""));
}

TEST_CASE("a message brings its descriptor, and one for another service is dropped") {
    Serving serving{"gossip"};
    Sibling sibling{serving.worker};
    testing::Pipe pipe;
    sibling.say(channel::ServiceMessage{.service = "polite", .type = 1, .bytes = "not here"});
    sibling.say(channel::ServiceMessage{.service = "gossip", .type = 2, .bytes = "a pipe"},
                pipe.write.duplicate().value());
    sibling.say(channel::ServiceMessage{.service = "gossip", .type = 3, .bytes = "throw"});
    sibling.say(channel::ServiceMessage{.service = "gossip", .type = 4, .bytes = ""});
    CHECK(testing::reads(serving.worker.errors(), "threw at a message"));
    CHECK(
        has_heard(serving.listener, "2 a pipe from 4 with a descriptor;3 throw from 4;4  from 4;"));
    pipe.write.close();
    CHECK(testing::readable(pipe.read.get()));  // the worker has closed its copy, too
}

TEST_CASE("a worker that sends services garbage loses its channel, and nobody else does") {
    Serving serving{"gossip"};
    const auto packet = channel::encode(channel::ServiceMessage{.service = "gossip", .bytes = "x"});
    SECTION("before its greeting") {
        Sibling sibling{serving.worker, false};
        sibling.say(channel::ServiceMessage{.service = "gossip", .type = 1, .bytes = "x"});
        CHECK(sibling.is_closed());
    }
    SECTION("more bytes than a message may have") {
        Sibling sibling{serving.worker};
        std::vector<std::byte> longer = packet.value();
        longer.resize(longer.size() + limits::max_peer_message_bytes);
        REQUIRE(::send(sibling.end.fd(), longer.data(), longer.size(), 0) > 0);
        CHECK(sibling.is_closed());
    }
    SECTION("a packet that no message fits in") {
        Sibling sibling{serving.worker};
        const std::vector<std::byte> huge(2 * limits::max_message_bytes);
        REQUIRE(::send(sibling.end.fd(), huge.data(), huge.size(), 0) > 0);
        CHECK(sibling.is_closed());
    }
    Client client{serving.listener};
    client.send("anybody?");
    CHECK(client.receives("0 peers, told 0\n"));
}

TEST_CASE("a slow sibling is told so much and no more, and nothing of it is lost") {
    Serving serving{"gossip"};
    Sibling sibling{serving.worker};
    REQUIRE(testing::reads(serving.worker.errors(), "channel to worker 4 open"));
    Client client{serving.listener};
    client.send("#");
    REQUIRE(client.is_answered());  // it has told as much as there was room for
    std::vector<std::uint32_t> types;
    const auto take = [&] { types.push_back(sibling.hear<channel::ServiceMessage>().type); };
    for (std::size_t i = 0; i <= limits::peer_queue_messages; ++i) take();
    while (testing::readable(sibling.end.fd(), 500)) take();
    for (std::uint32_t i = 0; i < types.size(); ++i) CHECK(types[i] == i);
    CHECK(types.size() < 2 * limits::peer_queue_messages);  // the socket holds less than that
    CHECK(client.receives(std::to_string(types.size()) + "\n"));
    client.close();
    CHECK(serving.drain() == 0);
}

TEST_CASE("a service that takes its time with messages holds back who sends them, and no client") {
    Serving serving{"slow"};
    Sibling sibling{serving.worker};
    const channel::ServiceMessage message{
        .service = "slow", .type = 1, .bytes = std::string(limits::max_peer_message_bytes, 'x')};
    for (int i = 0; i < 10'000 && sibling.end.queued() == 0; ++i) sibling.say(message);
    CHECK(sibling.end.queued() > 0);
    Client client{serving.listener};
    CHECK(client.echoes("served meanwhile"));
    client.close();
    CHECK(serving.drain() == 0);
}

TEST_CASE("without a worker there is nobody to tell") {
    worker::Peers peers;
    CHECK(peers.all().empty());
    const auto sent = peers.send(other, {.service = "gossip", .type = 1});
    REQUIRE_FALSE(sent);
    CHECK(sent.error().is(std::errc::not_connected));
}

TEST_CASE("a message that fits in no packet is refused before it is sent") {
    auto [mine, theirs] = channel::Channel::pair().value();
    worker::Peers peers;
    peers.open(self, other, std::move(theirs).release());
    const auto refused = [&](std::string service, std::size_t bytes) {
        const auto sent =
            peers.send(other, {.service = std::move(service), .bytes = std::string(bytes, 'x')});
        return !sent && sent.error().is(std::errc::invalid_argument);
    };
    CHECK(refused("", 1));
    CHECK(refused("gossip", limits::max_peer_message_bytes + 1));
    CHECK_FALSE(refused("gossip", limits::max_peer_message_bytes));
    CHECK(refused(std::string(limits::max_service_name_bytes + 1, 'n'), 1));
}
