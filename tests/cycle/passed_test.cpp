// What a service manager passes, and keeps.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

#include "surroundings.h"

using namespace ringfort;
using cycle::Cycle;
using process::PassedFd;

namespace {

std::unique_ptr<Cycle> build(const config::Settings& settings, cycle::Stock stock = {},
                             std::uint32_t workers = 1) {
    auto built = Cycle::build(settings, 1, std::move(stock), {}, {.workers = workers});
    INFO((built.obstacles.empty() ? "" : built.obstacles.front()));
    REQUIRE(built.cycle);
    return std::move(built.cycle);
}

/// Returns what a manager would pass that keeps all of a cycle, in an order of its own.
std::vector<PassedFd> all_of(const Cycle& cycle) {
    std::vector<PassedFd> passed;
    for (const auto& [name, fds] : cycle::to_be_kept(cycle))
        for (const RawFd fd : fds)
            passed.insert(passed.begin(), {.name = name, .fd = duplicate(fd).value()});
    return passed;
}

Fd listening(const Address& address, int flags = 0) {
    Fd socket{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | flags, 0)};
    REQUIRE(::bind(socket.get(), address.data(), address.size()) == 0);
    REQUIRE(::listen(socket.get(), 8) == 0);
    return socket;
}

ino_t inode(RawFd fd) {
    struct stat status{};
    REQUIRE(::fstat(fd, &status) == 0);
    return status.st_ino;
}

int option(const Fd& socket, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(socket.get(), level, name, &value, &size) == 0);
    return value;
}

}  // namespace

TEST_CASE("a socket of a service manager becomes the listener of its address") {
    Fd socket = listening(Address::parse("127.0.0.1:0").value(), SOCK_NONBLOCK);
    const ino_t file = inode(socket.get());
    config::Settings settings;
    settings.listeners.push_back(
        testing::listener(Address::of_socket(socket.get()).value().text()));
    std::vector<PassedFd> fds;
    fds.push_back({.name = "web.socket", .fd = std::move(socket)});
    auto passed = cycle::accept_passed(std::move(fds), {});
    CHECK(passed.kept.empty());
    const auto cycle = build(settings, std::move(passed.stock));
    const Fd& taken = cycle->bindings().at(0).first().socket();
    CHECK(inode(taken.get()) == file);
    CHECK(option(taken, IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK((::fcntl(taken.get(), F_GETFL) & O_NONBLOCK) == 0);
    CHECK(cycle->bindings().at(0).carried_over);
}

TEST_CASE("the file of a service manager's socket stays, that of one it has kept goes") {
    const testing::TempDir dir;
    const bool kept = GENERATE(false, true);
    const std::string path = dir.file("socket");
    const Address address = Address::parse("unix:" + path).value();
    config::Settings settings;
    settings.listeners.push_back(testing::listener("unix:" + path));
    std::vector<PassedFd> fds;
    fds.push_back({.name = kept ? "ringfort" : "web.socket", .fd = listening(address)});
    auto passed = cycle::accept_passed(std::move(fds), {});
    REQUIRE(passed.stock.groups.size() == 1);
    auto listener = passed.stock.groups[0].listeners.at(0);
    CHECK(listener->foreign() != kept);
    auto cycle = build(settings, std::move(passed.stock));
    listener->own();
    listener.reset();
    CHECK(std::filesystem::exists(path));
    cycle.reset();
    CHECK(std::filesystem::exists(path) != kept);
}

TEST_CASE("what is kept of a cycle comes back as it was, slot by slot, zones included") {
    config::Settings settings;
    settings.listeners.push_back(testing::listener("127.0.0.1:0"));
    settings.listeners.push_back(testing::listener("127.0.0.1:0"));
    settings.listeners.back().reuseport = true;
    settings.zones.push_back({.name = "numbers", .size = Bytes{65'536}});
    const auto first = build(settings, {}, 12);
    first->zones().at(0)->payload().back() = std::byte{42};
    for (std::size_t i = 0; i < 2; ++i)
        settings.listeners[i].address = first->bindings().at(i).first().bound();
    const auto names = cycle::to_be_kept(*first);
    CHECK(names.size() == 13);
    CHECK(names.at("ringfort").size() == 2);
    CHECK(names.at("ringfort-11").size() == 1);

    auto passed = cycle::accept_passed(all_of(*first), {});
    const auto second = build(settings, std::move(passed.stock), 12);
    for (std::size_t i = 0; i < 2; ++i) {
        const auto& old = first->bindings().at(i).listeners;
        const auto& now = second->bindings().at(i).listeners;
        REQUIRE(now.size() == old.size());
        for (std::size_t slot = 0; slot < old.size(); ++slot)
            CHECK(inode(now[slot]->socket().get()) == inode(old[slot]->socket().get()));
    }
    REQUIRE(second->zones().size() == 1);
    CHECK(second->zones()[0]->payload().back() == std::byte{42});
    // Then there is nothing to be told.
    auto wanted = cycle::identify(cycle::to_be_kept(*second));
    CHECK(passed.kept.at("ringfort-7") == wanted.at("ringfort-7"));
    CHECK(passed.kept.size() == wanted.size());
}

TEST_CASE("only what is called as it is kept is an earlier master's") {
    for (const auto& [name, ours] : std::map<std::string, bool>{{"ringfort", true},
                                                                {"ringfort-0", true},
                                                                {"ringfort-255", true},
                                                                {"ringfort.socket", false},
                                                                {"ringfort-echo.socket", false},
                                                                {"ringfort-", false},
                                                                {"ringfort-1x", false},
                                                                {"web", false}}) {
        CAPTURE(name);
        std::vector<PassedFd> fds;
        fds.push_back({.name = name, .fd = listening(Address::parse("127.0.0.1:0").value())});
        const auto passed = cycle::accept_passed(std::move(fds), {});
        REQUIRE(passed.stock.groups.size() == 1);
        CHECK(passed.stock.groups[0].listeners[0]->foreign() != ours);
        CHECK(passed.kept.empty() != ours);
    }
}

TEST_CASE("what the service manager has opened is its own: not kept, known to an orphan or not") {
    Fd socket = listening(Address::parse("127.0.0.1:0").value());
    const Address at = Address::of_socket(socket.get()).value();
    cycle::Stock known;
    known.add(cycle::Listener::adopt(socket.duplicate().value(), at).value(), false);
    std::vector<PassedFd> fds;
    fds.push_back({.name = "web.socket", .fd = std::move(socket)});
    CHECK(cycle::accept_passed(std::move(fds), known).stock.groups.empty());
    CHECK(known.groups[0].first().foreign());
    config::Settings settings;
    settings.listeners.push_back(testing::listener(at.text()));
    CHECK(cycle::to_be_kept(*build(settings, std::move(known))).empty());
}

TEST_CASE("what is known already, or of no use, is not taken") {
    const Fd socket = listening(Address::parse("127.0.0.1:0").value());
    const auto copy = [&] { return socket.duplicate().value(); };
    cycle::Stock known;
    known.add(cycle::Listener::adopt(copy(), Address::of_socket(socket.get()).value()).value(),
              false);
    std::vector<PassedFd> fds;
    fds.push_back({.name = "again", .fd = copy()});
    fds.push_back({.name = "datagrams", .fd = Fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)}});
    fds.push_back({.name = "deaf", .fd = Fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}});
    fds.push_back({.name = "file", .fd = Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)}});
    Fd memory{::memfd_create("no zone", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    REQUIRE(::ftruncate(memory.get(), 65'536) == 0);
    fds.push_back({.name = "memory", .fd = std::move(memory)});
    const auto passed = cycle::accept_passed(std::move(fds), known);
    CHECK(passed.stock.groups.empty());
    CHECK(passed.stock.zones.empty());
    std::vector<PassedFd> twice;
    for (int i = 0; i < 2; ++i) twice.push_back({.name = "ringfort", .fd = copy()});
    const auto once = cycle::accept_passed(std::move(twice), {});
    REQUIRE(once.stock.groups.size() == 1);
    CHECK(once.stock.groups[0].listeners.size() == 1);
}
