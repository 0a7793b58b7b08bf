#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
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

using worker::Peers;
constexpr Peers::Key self{.generation = 7, .slot = 3};
constexpr Peers::Key other{.generation = 7, .slot = 4};

/// The other end of a channel to a worker, as that other worker has it.
struct Peer {
    channel::Channel end;

    explicit Peer(Hired& worker, Peers::Key as = other) : end{open(worker, as)} {}
    static channel::Channel open(Hired& worker, Peers::Key as) {
        auto [mine, theirs] = channel::Channel::pair().value();
        worker.send(channel::OpenPeer{.slot = as.slot, .generation = as.generation},
                    std::move(theirs).release());
        return std::move(mine);
    }
    [[nodiscard]] bool is_greeted() {
        if (!testing::readable(end.fd())) return false;
        auto received = end.receive();
        return received && *received &&
               (*received)->message == channel::Message{channel::Hello{
                                           .slot = self.slot, .generation = self.generation}};
    }
    [[nodiscard]] bool is_closed() {
        if (!testing::readable(end.fd())) return false;
        const auto received = end.receive();
        return !received && received.error().is(std::errc::connection_reset);
    }
};

}  // namespace

TEST_CASE("peers greet, and go on as long as nothing but greetings comes") {
    auto [mine, theirs] = channel::Channel::pair().value();
    Peers peers;
    CHECK_FALSE(peers.channel(other));
    CHECK_FALSE(peers.receive(other));
    peers.open(self, other, std::move(theirs).release());
    CHECK(peers.size() == 1);
    CHECK(peers.channel(other));
    CHECK(peers.receive(other));  // nothing is there
    REQUIRE(mine.send(channel::Hello{.slot = other.slot, .generation = other.generation}));
    CHECK(peers.receive(other));
    SECTION("another's name") {
        REQUIRE(mine.send(channel::Hello{.slot = 9, .generation = other.generation}));
    }
    SECTION("another generation") {
        REQUIRE(mine.send(channel::Hello{.slot = other.slot, .generation = 6}));
    }
    SECTION("a message of a master") {
        REQUIRE(mine.send(channel::Terminate{}));
    }
    SECTION("garbage") {
        REQUIRE(::send(mine.fd(), "garbage", 7, 0) == 7);
    }
    SECTION("the end") {
        const auto gone = std::move(mine);
    }
    CHECK_FALSE(peers.receive(other));
    CHECK(peers.size() == 0);
    CHECK_FALSE(peers.channel(other));
}

TEST_CASE("closing a peer closes its channel and no other") {
    auto one = channel::Channel::pair().value();
    auto two = channel::Channel::pair().value();
    Peers peers;
    peers.open(self, other, std::move(one.second).release());
    peers.open(self, {.generation = 7, .slot = 5}, std::move(two.second).release());
    peers.close(other);
    peers.close(other);
    CHECK(peers.size() == 1);
    CHECK(peers.channel({.generation = 7, .slot = 5}));
    peers.close_all();
    CHECK(peers.size() == 0);
}

TEST_CASE("a peer that is opened again replaces the one before") {
    auto one = channel::Channel::pair().value();
    auto two = channel::Channel::pair().value();
    Peers peers;
    peers.open(self, other, std::move(one.second).release());
    peers.open(self, other, std::move(two.second).release());
    CHECK(peers.size() == 1);
    CHECK((*one.first.receive())->message.index() == channel::Message{channel::Hello{}}.index());
    CHECK(one.first.receive().error().is(std::errc::connection_reset));
}

TEST_CASE("two workers that are introduced greet each other") {
    Serving one, two;
    auto [first, second] = channel::Channel::pair().value();
    const channel::OpenPeer each_other{.slot = self.slot, .generation = self.generation};
    one.worker.send(each_other, std::move(first).release());
    two.worker.send(each_other, std::move(second).release());
    CHECK(testing::reads(one.worker.errors(), "channel to worker 3 open"));
    CHECK(testing::reads(two.worker.errors(), "channel to worker 3 open"));
    CHECK(two.drain() == 0);
    Client client{one.listener};
    CHECK(client.echoes("the end of a peer is not mine"));
}

TEST_CASE("a worker greets its peer and closes the channel when it is told to") {
    Serving serving;
    Peer peer{serving.worker};
    CHECK(peer.is_greeted());
    serving.worker.send(channel::ClosePeer{.slot = other.slot, .generation = other.generation});
    CHECK(peer.is_closed());
    CHECK(serving.drain() == 0);
}

TEST_CASE("a peer that misbehaves loses its channel, not its worker") {
    Serving serving;
    Peer peer{serving.worker};
    CHECK(peer.is_greeted());
    REQUIRE(peer.end.send(channel::Terminate{}));
    CHECK(peer.is_closed());
    Client client{serving.listener};
    CHECK(client.echoes("x"));
}

TEST_CASE("a peer whose channel is replaced under the worker's eyes is heard on the new one") {
    Serving serving;
    std::optional<Peer> peer{std::in_place, serving.worker};
    CHECK(peer->is_greeted());
    const bool held = GENERATE(false, true);
    const bool told = GENERATE(false, true);
    const bool goes = GENERATE(false, true);
    CAPTURE(held, told, goes);
    for (int life = 0; life < 3; ++life) {
        if (held) serving.worker.hold();  // so that it learns all of it in one turn
        if (told)
            serving.worker.send(
                channel::ClosePeer{.slot = other.slot, .generation = other.generation});
        std::optional<Peer> next{std::in_place, serving.worker};
        if (goes) peer.reset();
        if (held) serving.worker.signal(SIGCONT);
        CHECK(next->is_greeted());
        if (peer) CHECK(peer->is_closed());
        peer = std::move(next);
        REQUIRE(peer->end.send(channel::Hello{.slot = other.slot, .generation = other.generation}));
        REQUIRE(testing::reads(serving.worker.errors(), "channel to worker 4 open"));
    }
    CHECK(serving.drain() == 0);
}

TEST_CASE("a peer that was respawned is opened under its old name") {
    Serving serving;
    for (int life = 0; life < 3; ++life) {
        Peer peer{serving.worker};
        CHECK(peer.is_greeted());
        REQUIRE(peer.end.send(channel::Hello{.slot = other.slot, .generation = other.generation}));
        CHECK(testing::reads(serving.worker.errors(), "channel to worker 4 open"));
    }
    CHECK(serving.drain() == 0);
}
