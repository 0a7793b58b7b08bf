// Listeners of UDP: how they are opened, and how cycles pass them on.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

#include "surroundings.h"

using namespace ringfort;
using config::Protocol;
using cycle::Cycle;
using cycle::Listener;

namespace {

constexpr int senders = 128;

config::Listener udp(const std::string& address = "127.0.0.1:0") {
    config::Listener settings = testing::listener(address);
    settings.protocol = Protocol::udp;
    return settings;
}

std::unique_ptr<Cycle> build(std::uint32_t workers, const Cycle* old = nullptr,
                             bool reuseport = true) {
    config::Settings settings;
    settings.listeners.push_back(udp());
    settings.listeners.back().reuseport = reuseport;
    auto built =
        Cycle::build(settings, old == nullptr ? 1 : old->generation() + 1,
                     old == nullptr ? cycle::Stock{} : old->stock(), {}, {.workers = workers});
    INFO((built.obstacles.empty() ? "" : built.obstacles.front()));
    REQUIRE(built.cycle);
    return std::move(built.cycle);
}

/// Opens one at an address where of TCP nobody listens, nor a client happens to be connected from.
std::shared_ptr<Listener> open_where_tcp_is_free() {
    for (int i = 0; i < 50; ++i) {
        auto made = Listener::open(udp()).value();
        if (Listener::open(testing::listener(made->bound().text()))) return made;
    }
    FAIL("no port is free for both");
    return nullptr;
}

const cycle::Binding& binding(const Cycle& cycle) {
    return cycle.bindings().at(0);
}

int option(const Fd& socket, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(socket.get(), level, name, &value, &size) == 0);
    return value;
}

/// Sends a datagram from a socket of its own, as the kernel shares them out by their senders.
void send(const Address& to) {
    const Fd client{::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::sendto(client.get(), "x", 1, 0, to.data(), to.size()) == 1);
}

/// That many; loopback has delivered them when it returns.
void send_many(const Cycle& cycle) {
    for (int i = 0; i < senders; ++i) send(binding(cycle).first().bound());
}

int receive_all(const Fd& socket) {
    int count = 0;
    char byte = 0;
    while (::recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 1) ++count;
    return count;
}

/// Says how many wait at each socket, and takes them.
std::vector<int> take(const Cycle& cycle) {
    std::vector<int> counts;
    for (const auto& listener : binding(cycle).listeners)
        counts.push_back(receive_all(listener->socket()));
    return counts;
}

}  // namespace

TEST_CASE("a listener of UDP is bound, tells addresses, and shares its own with no stranger") {
    config::Listener settings = udp();
    settings.receive_buffer = Bytes{64 << 10};
    const auto made = Listener::open(settings).value();
    CHECK(made->listening());
    CHECK(made->protocol() == Protocol::udp);
    CHECK(made->text() == made->bound().text() + "/udp");
    CHECK(option(made->socket(), SOL_SOCKET, SO_TYPE) == SOCK_DGRAM);
    CHECK(option(made->socket(), IPPROTO_IP, IP_PKTINFO) == 1);
    CHECK(option(made->socket(), SOL_SOCKET, SO_RCVBUF) == 2 * (64 << 10));  // socket(7)
    CHECK(option(made->socket(), SOL_SOCKET, SO_REUSEADDR) == 0);
    CHECK_FALSE(made->has_waiting());
    send(made->bound());
    CHECK(made->has_waiting());

    const auto second = Listener::open(udp(made->bound().text()));
    REQUIRE_FALSE(second);
    CHECK(second.error().is(std::errc::address_in_use));
}

TEST_CASE("a listener of UDP for IPv6 takes nothing of IPv4, and tells addresses") {
    auto made = Listener::open(udp("[::1]:0"));
    if (!made && made.error().is(std::errc::address_not_available)) SKIP("no IPv6 here");
    REQUIRE(made);
    CHECK(option((*made)->socket(), IPPROTO_IPV6, IPV6_V6ONLY) == 1);
    CHECK(option((*made)->socket(), IPPROTO_IPV6, IPV6_RECVPKTINFO) == 1);
}

TEST_CASE("a socket of UDP that another process opened is adopted with what waits in it") {
    const auto made = Listener::open(udp()).value();
    send(made->bound());
    const auto adopted =
        Listener::adopt(made->socket().duplicate().value(), made->configured()).value();
    CHECK(adopted->protocol() == Protocol::udp);
    CHECK(adopted->listening());
    CHECK(adopted->bound() == made->bound());
    CHECK(adopted->has_waiting());
    const Fd local{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    CHECK_FALSE(Listener::adopt(local.duplicate().value(), made->configured()));
}

TEST_CASE("TCP and UDP have an address each, and are carried over each by itself") {
    const auto free = open_where_tcp_is_free();
    config::Settings settings;
    settings.listeners.push_back(udp(free->bound().text()));
    settings.listeners.push_back(testing::listener(free->bound().text()));
    cycle::Stock stock;
    stock.add(free, false);
    const auto first = Cycle::build(settings, 1, std::move(stock), {}).cycle;
    REQUIRE(first);
    CHECK(first->bindings()[0].listeners[0] == free);
    CHECK(first->bindings()[1].first().protocol() == Protocol::tcp);
    std::swap(settings.listeners[0], settings.listeners[1]);
    const auto second = Cycle::build(settings, 2, first->stock(), {}).cycle;
    REQUIRE(second);
    CHECK(second->bindings()[0].listeners == first->bindings()[1].listeners);
    CHECK(second->bindings()[1].listeners == first->bindings()[0].listeners);
    const auto lines = cycle::changes(*first, *second);
    CHECK(lines.at(1) == "listener " + free->bound().text() + "/udp (echo): kept");
    settings.listeners.pop_back();
    const auto third = Cycle::build(settings, 3, second->stock(), {}).cycle;
    REQUIRE(third);
    CHECK(cycle::changes(*second, *third).at(1) ==
          "listener " + free->bound().text() + "/udp (echo): closed");
}

TEST_CASE("with reuseport senders are shared out, each to one worker") {
    const auto made = build(4);
    CHECK(made->slots() == 4);
    CHECK(binding(*made).first().bound().port() != 0);
    send_many(*made);
    const auto counts = take(*made);
    CHECK(testing::each_has_some(counts));
    CHECK(testing::sum(counts) == senders);
    const Address& to = binding(*made).first().bound();
    const Fd client{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    for (int i = 0; i < 16; ++i)
        REQUIRE(::sendto(client.get(), "x", 1, 0, to.data(), to.size()) == 1);
    CHECK(std::ranges::count(take(*made), 16) == 1);
}

TEST_CASE("a larger generation gets no datagram before its commit, and its share from then on") {
    const auto old = build(2);
    {
        const auto given_up = build(6, old.get());
        send_many(*old);
        CHECK(testing::sum(take(*old)) == senders);
    }
    const auto next = build(4, old.get());
    CHECK_FALSE(binding(*next).listeners[2]->listening());
    send_many(*old);
    CHECK(testing::sum(take(*old)) == senders);
    CHECK(next->update_listeners().size() == 2);
    send_many(*next);
    const auto counts = take(*next);
    CHECK(testing::each_has_some(counts));
    CHECK(testing::sum(counts) == senders);
}

TEST_CASE("a socket that is not bound yet is passed on with the address it is to have") {
    const auto old = build(1);
    const auto next = build(2, old.get());
    const Listener& unbound = *binding(*next).listeners[1];
    const auto adopted =
        Listener::adopt(unbound.socket().duplicate().value(), unbound.configured()).value();
    CHECK_FALSE(adopted->listening());
    cycle::Stock stock = old->stock();
    stock.add(adopted, true);
    REQUIRE(stock.groups.size() == 1);
    CHECK(stock.groups[0].listeners.size() == 2);
    CHECK(adopted->begin(udp()));
    CHECK(adopted->listening());
    CHECK(Address::of_socket(adopted->socket().get()).value() == binding(*old).first().bound());
}

TEST_CASE("orphans of UDP get nothing new, keep what waits, and are passed over when they end") {
    const auto old = build(5);
    send_many(*old);
    const auto next = build(2, old.get());
    CHECK(next->update_listeners().empty());
    CHECK_FALSE(next->orphans_are_idle());
    const auto waiting = take(*next);
    CHECK(testing::each_has_some(waiting));
    CHECK(testing::sum(waiting) == senders);
    CHECK(next->orphans_are_idle());
    send_many(*next);
    const auto directed = take(*next);
    CHECK(directed[0] > 0);
    CHECK(directed[1] > 0);
    CHECK(testing::sum(directed) == directed[0] + directed[1]);

    next->end_orphans();
    CHECK(next->orphans().empty());
    send_many(*next);  // `old` has the five, as a stopped worker may
    const auto counts = take(*next);
    CHECK(testing::each_has_some(counts));
    CHECK(testing::sum(counts) == senders);
}

TEST_CASE("a shared socket of UDP becomes the first of a group, and is shared again") {
    const auto shared = build(3, nullptr, false);
    CHECK(shared->slots() == 0);
    const auto group = build(3, shared.get(), true);
    CHECK(group->update_listeners().size() == 2);
    send_many(*group);
    CHECK(testing::each_has_some(take(*group)));
    const auto again = build(3, group.get(), false);
    CHECK(again->update_listeners().empty());
    CHECK(again->orphans().size() == 2);
    send_many(*again);
    const auto counts = take(*again);
    CHECK(counts[0] == senders);
    again->end_orphans();
    send_many(*again);
    CHECK(take(*again) == std::vector<int>{senders});
}

TEST_CASE("a bound socket of UDP is taken from the service manager, and kept by it") {
    const Address any = Address::parse("*:0").value();
    Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    REQUIRE(::bind(socket.get(), any.data(), any.size()) == 0);
    config::Settings settings;
    settings.listeners.push_back(udp(Address::of_socket(socket.get()).value().text()));
    std::vector<process::PassedFd> fds;
    fds.push_back({.name = "dns.socket", .fd = std::move(socket)});
    auto passed = cycle::accept_passed(std::move(fds), {});
    const auto cycle = Cycle::build(settings, 1, std::move(passed.stock), {}).cycle;
    REQUIRE(cycle);
    CHECK(binding(*cycle).carried_over);
    CHECK(binding(*cycle).first().foreign());
    (void)cycle->update_listeners();
    CHECK(option(binding(*cycle).first().socket(), IPPROTO_IP, IP_PKTINFO) == 1);

    const auto own = build(2);
    std::vector<process::PassedFd> kept;
    for (const auto& [name, those] : cycle::to_be_kept(*own))
        for (const RawFd fd : those)
            kept.insert(kept.begin(), {.name = name, .fd = duplicate(fd).value()});
    REQUIRE(kept.size() == 2);
    const auto back = cycle::accept_passed(std::move(kept), {});
    REQUIRE(back.stock.groups.size() == 1);
    CHECK(back.stock.groups[0].listeners.size() == 2);
    CHECK(back.stock.groups[0].first().protocol() == Protocol::udp);
}
