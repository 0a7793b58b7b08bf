// Listeners with a socket for each worker: how cycles pass them on.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
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
import ringfort.shm;

#include "surroundings.h"

using namespace ringfort;
using cycle::Built;
using cycle::Cycle;
using cycle::Listener;

namespace {

config::Settings settings(bool reuseport = true, const std::string& address = "127.0.0.1:0") {
    config::Settings made;
    made.listeners.push_back(testing::listener(address));
    made.listeners.back().reuseport = reuseport;
    return made;
}

std::unique_ptr<Cycle> build(std::uint32_t workers, const Cycle* old = nullptr,
                             bool reuseport = true) {
    Built built =
        Cycle::build(settings(reuseport), old == nullptr ? 1 : old->generation() + 1,
                     old == nullptr ? cycle::Stock{} : old->stock(), {}, {.workers = workers});
    INFO((built.obstacles.empty() ? "" : built.obstacles.front()));
    REQUIRE(built.cycle);
    return std::move(built.cycle);
}

const cycle::Binding& binding(const Cycle& cycle) {
    return cycle.bindings().at(0);
}

/// Connects that many clients: enough that no socket of a group goes without by chance.
std::vector<Fd> connect(const Cycle& cycle, int count = 128) {
    const Address& address = binding(cycle).first().bound();
    std::vector<Fd> clients;
    for (int i = 0; i < count; ++i) {
        clients.emplace_back(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(clients.back().get(), address.data(), address.size()) == 0);
    }
    return clients;
}

/// Accepts all that wait at one socket; returns how many those were.
int accept_all(const Listener& listener) {
    int count = 0;
    while (listener.has_waiting()) {
        const Fd accepted{::accept4(listener.socket().get(), nullptr, nullptr, SOCK_CLOEXEC)};
        REQUIRE(accepted);
        ++count;
    }
    return count;
}

/// Says how many wait at each socket, and takes them.
std::vector<int> take(const Cycle& cycle) {
    std::vector<int> counts;
    for (const auto& listener : binding(cycle).listeners) counts.push_back(accept_all(*listener));
    return counts;
}

int option(const Listener& listener, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(listener.socket().get(), level, name, &value, &size) == 0);
    return value;
}

}  // namespace

TEST_CASE("with reuseport there is a socket for each worker, at one address") {
    const auto cycle = build(4);
    REQUIRE(binding(*cycle).listeners.size() == 4);
    CHECK(cycle->slots() == 4);
    CHECK(cycle->orphans().empty());
    for (const auto& listener : binding(*cycle).listeners) {
        CHECK(listener->listening());
        CHECK(listener->bound() == binding(*cycle).first().bound());
    }
    const auto clients = connect(*cycle);
    const auto counts = take(*cycle);
    CHECK(testing::each_has_some(counts));
    CHECK(testing::sum(counts) == 128);
}

TEST_CASE("without reuseport there is one socket, and no slot has its own") {
    const auto cycle = build(4, nullptr, false);
    CHECK(binding(*cycle).listeners.size() == 1);
    CHECK(cycle->slots() == 0);
    CHECK_FALSE(binding(*cycle).has_own(0));
}

TEST_CASE("sockets are carried over by address and slot, and new ones listen at the commit") {
    const auto old = build(2);
    const auto next = build(4, old.get());
    const auto& sockets = binding(*next).listeners;
    REQUIRE(sockets.size() == 4);
    CHECK(sockets[0] == binding(*old).listeners[0]);
    CHECK(sockets[1] == binding(*old).listeners[1]);
    CHECK_FALSE(sockets[2]->listening());
    CHECK_FALSE(sockets[3]->listening());
    const auto before = connect(*next);
    CHECK(testing::sum(take(*old)) ==
          128);  // nobody would serve what another got, were this one given up

    const auto begun = next->update_listeners();
    REQUIRE(begun.size() == 2);
    CHECK(begun[0].slot == 2);
    CHECK(begun[1].slot == 3);
    const auto after = connect(*next);
    CHECK(testing::each_has_some(take(*next)));
}

TEST_CASE("what a reload would change tells how many sockets there will be") {
    const auto old = build(2);
    const auto next = build(4, old.get());
    const auto lines = cycle::changes(*old, *next);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].ends_with(": kept, sockets 2 -> 4"));
}

TEST_CASE("a larger generation that is given up has taken no connection") {
    const auto old = build(2);
    {
        const auto next = build(6, old.get());
        const auto clients = connect(*old);
        CHECK(testing::sum(take(*old)) == 128);
    }
    const auto clients = connect(*old);
    CHECK(testing::sum(take(*old)) == 128);
}

TEST_CASE("the sockets of workers that are no more get no new connections, and are kept") {
    const auto old = build(4);
    const auto waiting = connect(*old);
    const auto next = build(2, old.get());
    CHECK(next->slots() == 4);
    CHECK(next->orphans().size() == 2);
    CHECK(next->update_listeners().empty());
    CHECK_FALSE(next->orphans_are_idle());
    const auto counts = take(*next);
    CHECK(testing::each_has_some(counts));
    CHECK(testing::sum(counts) == 128);

    CHECK(next->orphans_are_idle());
    const auto clients = connect(*next);
    const auto directed = take(*next);
    CHECK(directed[0] > 0);
    CHECK(directed[1] > 0);
    CHECK(directed[2] == 0);
    CHECK(directed[3] == 0);
}

TEST_CASE("orphans that are ended are out of the group, whoever else has them") {
    const auto old = build(5);
    const auto next = build(2, old.get());
    (void)next->update_listeners();
    next->end_orphans();
    CHECK(binding(*next).listeners.size() == 2);
    CHECK(next->slots() == 2);
    CHECK(next->orphans().empty());
    const auto clients = connect(*next);  // `old` has the five as an old worker may
    const auto counts = take(*next);
    CHECK(testing::each_has_some(counts));
    CHECK(testing::sum(counts) == 128);

    const auto grown = build(4, next.get());
    (void)grown->update_listeners();
    const auto more = connect(*grown);
    CHECK(testing::each_has_some(take(*grown)));
}

TEST_CASE("workers that come back take the orphans over") {
    const auto first = build(4);
    const auto second = build(2, first.get());
    (void)second->update_listeners();
    const auto third = build(6, second.get());
    for (std::size_t slot = 0; slot < 4; ++slot)
        CHECK(binding(*third).listeners[slot] == binding(*first).listeners[slot]);
    (void)third->update_listeners();
    CHECK(third->orphans().empty());
    const auto clients = connect(*third);
    const auto counts = take(*third);
    CHECK(counts.size() == 6);
    CHECK(testing::each_has_some(counts));
}

TEST_CASE("a shared socket becomes the first of a group, and is shared again") {
    const auto shared = build(3, nullptr, false);
    const auto group = build(3, shared.get());
    REQUIRE(binding(*group).listeners.size() == 3);
    CHECK(binding(*group).listeners[0] == binding(*shared).listeners[0]);
    (void)group->update_listeners();
    {
        const auto clients = connect(*group);
        CHECK(testing::each_has_some(take(*group)));
    }
    const auto again = build(3, group.get(), false);
    (void)again->update_listeners();
    CHECK(again->orphans().size() == 2);
    CHECK_FALSE(binding(*again).has_own(0));
    CHECK(binding(*again).has_own(1));
    const auto clients = connect(*again);
    CHECK(take(*again) == std::vector{128, 0, 0});
    again->end_orphans();
    CHECK(again->slots() == 0);
    const auto more = connect(*again);
    CHECK(take(*again) == std::vector{128});
    CHECK(option(binding(*again).first(), SOL_SOCKET, SO_REUSEPORT) == 0);  // nobody may join
}

TEST_CASE("a group is not opened where another server has one") {
    const auto other = build(2);
    auto wanted = settings(true, binding(*other).first().bound().text());
    const Built built = Cycle::build(wanted, 1, {}, {}, {.workers = 2});
    CHECK_FALSE(built.cycle);
    REQUIRE(built.obstacles.size() == 1);
    CHECK(built.obstacles[0].find("Another program listens there") != std::string::npos);
    const auto clients = connect(*other);
    CHECK(testing::sum(take(*other)) == 128);
}

TEST_CASE("a group leaves no descriptor when it goes") {
    const auto before = testing::open_descriptors();
    {
        const auto old = build(4);
        const auto next = build(2, old.get());
        (void)next->update_listeners();
        next->end_orphans();
    }
    CHECK(testing::open_descriptors() == before);
}

TEST_CASE("a listener has the options of its settings, and a later cycle's") {
    auto wanted = testing::listener("127.0.0.1:0");
    wanted.receive_buffer = Bytes{32'768};
    wanted.send_buffer = Bytes{16'384};
    wanted.fast_open = 12;
    wanted.defer_accept = Milliseconds{1'000};
    wanted.keepalive = Milliseconds{30'500};
    const auto made = Listener::open(wanted).value();
    // The kernel doubles the sizes, for its own needs (socket(7)).
    CHECK(option(*made, SOL_SOCKET, SO_RCVBUF) == 65'536);
    CHECK(option(*made, SOL_SOCKET, SO_SNDBUF) == 32'768);
    CHECK(option(*made, IPPROTO_TCP, TCP_FASTOPEN) == 12);
    CHECK(option(*made, IPPROTO_TCP, TCP_DEFER_ACCEPT) == 1);
    CHECK(option(*made, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option(*made, IPPROTO_TCP, TCP_KEEPIDLE) == 31);
    wanted.receive_buffer = Bytes{65'536};
    wanted.fast_open = 0;
    wanted.defer_accept = Milliseconds{0};
    wanted.keepalive = Milliseconds{0};
    made->update(wanted);
    CHECK(option(*made, SOL_SOCKET, SO_RCVBUF) == 131'072);
    CHECK(option(*made, IPPROTO_TCP, TCP_FASTOPEN) == 0);
    CHECK(option(*made, IPPROTO_TCP, TCP_DEFER_ACCEPT) == 0);
    CHECK(option(*made, SOL_SOCKET, SO_KEEPALIVE) == 0);
}

TEST_CASE("names that have been looked up already are not looked up again") {
    const testing::TempDir dir;
    config::Settings wanted;
    wanted.listeners.push_back(testing::listener("127.0.0.1:0"));
    wanted.listeners.push_back(testing::listener("unix:" + dir.file("socket")));
    wanted.listeners[1].owner = "nobody is called so";
    CHECK_FALSE(Cycle::build(wanted, 1, {}, {}).cycle);
    cycle::Stock stock;
    stock.owners[1] = {.user = ::geteuid(), .group = {}};
    const Built built = Cycle::build(wanted, 1, std::move(stock), {});
    REQUIRE(built.cycle);
    CHECK(built.cycle->bindings()[1].owner.user == ::geteuid());
}

TEST_CASE("the file of a unix listener gets its owner and group, and a later cycle's") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    auto wanted = testing::listener("unix:" + path);
    const auto group_of = [&] {
        struct stat status{};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        return status.st_gid;
    };
    const auto user_of = [&] {
        struct stat status{};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        return status.st_uid;
    };
    wanted.owner = std::to_string(::geteuid());
    if (::geteuid() == 0) wanted.owner = "12345";
    wanted.group = std::to_string(::geteuid() == 0 ? 23456 : ::getegid());
    const auto made = Listener::open(wanted, cycle::find_owner(wanted).value()).value();
    CHECK(std::to_string(user_of()) == wanted.owner);
    CHECK(std::to_string(group_of()) == wanted.group);
    if (::geteuid() != 0) return;
    wanted.owner.clear();
    wanted.group = "34567";
    made->update(wanted, cycle::find_owner(wanted).value());
    CHECK(user_of() == 12'345);
    CHECK(group_of() == 34'567);
}

TEST_CASE("an owner that is not known is an obstacle") {
    const testing::TempDir directory;
    auto wanted = settings(false, "unix:" + directory.file("socket"));
    wanted.listeners[0].group = "nobody-is-called-so";
    const Built built = Cycle::build(wanted, 1, {}, {});
    CHECK_FALSE(built.cycle);
    REQUIRE(built.obstacles.size() == 1);
    CHECK(built.obstacles[0].find("look up the group") != std::string::npos);
}
