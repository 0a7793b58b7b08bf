#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>

import ringfort.base;
import ringfort.config;
import ringfort.cycle;

#include "surroundings.h"

using namespace ringfort;
using cycle::Listener;

namespace {

/// The kernel's view of a listening TCP socket's backlog.
unsigned backlog_of(const Fd& socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    REQUIRE(::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
    return info.tcpi_sacked;  // for listeners: their backlog (net/ipv4/tcp.c, tcp_get_info)
}

int option(const Fd& socket, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(socket.get(), level, name, &value, &size) == 0);
    return value;
}

/// Binds a socket file and closes the socket: what a killed server leaves.
void leave_stale_socket(const std::string& path) {
    const auto address = Address::parse("unix:" + path).value();
    const Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::bind(socket.get(), address.data(), address.size()) == 0);
    REQUIRE(::listen(socket.get(), 1) == 0);
}

}  // namespace

TEST_CASE("a listener knows the configured address and the one the kernel picked") {
    const auto made = Listener::open(testing::listener("127.0.0.1:0")).value();
    CHECK(made->configured().text() == "127.0.0.1:0");
    CHECK(made->bound().port() != 0);
    CHECK(testing::connect_to(made->bound()) == 0);
    CHECK(option(made->socket(), IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(option(made->socket(), SOL_SOCKET, SO_REUSEPORT) == 0);
}

TEST_CASE("an IPv6 listener takes no IPv4 connections") {
    auto made = Listener::open(testing::listener("[::1]:0"));
    if (!made && made.error().is(std::errc::address_not_available)) SKIP("no IPv6 here");
    REQUIRE(made);
    CHECK(option((*made)->socket(), IPPROTO_IPV6, IPV6_V6ONLY) == 1);
    CHECK(testing::connect_to((*made)->bound()) == 0);
}

TEST_CASE("an address where somebody listens is refused after a few attempts") {
    const auto first = Listener::open(testing::listener("127.0.0.1:0")).value();
    const auto second = Listener::open(testing::listener(first->bound().text()));
    REQUIRE_FALSE(second);
    CHECK(second.error().is(std::errc::address_in_use));
}

TEST_CASE("a unix listener gets its mode, and its file goes with it") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    auto settings = testing::listener("unix:" + path);
    settings.mode = config::FileMode{0620};
    {
        const auto made = Listener::open(settings).value();
        CHECK(testing::permissions(path) == 0620);
        CHECK(testing::connect_to(made->bound()) == 0);
    }
    CHECK(directory.entries() == 0);
}

TEST_CASE("an abstract unix listener needs no file") {
    const std::string name = "unix:@ringfort-cycle-test-" + std::to_string(::getpid());
    auto settings = testing::listener(name);
    settings.mode = config::FileMode{0600};
    const auto made = Listener::open(settings).value();
    CHECK(made->bound().text() == name);
    CHECK(testing::connect_to(made->bound()) == 0);
    CHECK(Listener::open(settings).error().is(std::errc::address_in_use));
}

TEST_CASE("a stale socket file is replaced") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    leave_stale_socket(path);
    REQUIRE(testing::connect_to(Address::parse("unix:" + path).value()) == ECONNREFUSED);
    const auto made = Listener::open(testing::listener("unix:" + path));
    REQUIRE(made);
    CHECK(testing::connect_to((*made)->bound()) == 0);
}

TEST_CASE("a socket file where somebody listens is refused and left alone") {
    const testing::TempDir directory;
    const auto settings = testing::listener("unix:" + directory.file("socket"));
    const auto living = Listener::open(settings).value();
    const auto second = Listener::open(settings);
    REQUIRE_FALSE(second);
    CHECK(second.error().is(std::errc::address_in_use));
    CHECK(testing::connect_to(living->bound()) == 0);
}

TEST_CASE("a regular file is never taken for a socket and never removed") {
    const testing::TempDir directory;
    const std::string path = directory.file("precious");
    std::ofstream{path} << "data";
    const auto made = Listener::open(testing::listener("unix:" + path));
    REQUIRE_FALSE(made);
    CHECK(made.error().is(std::errc::address_in_use));
    std::string content;
    std::ifstream{path} >> content;
    CHECK(content == "data");
}

TEST_CASE("a forked child does not remove the socket file of its parent") {
    const testing::TempDir directory;
    auto made = Listener::open(testing::listener("unix:" + directory.file("socket"))).value();
    const auto address = made->bound();
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        made.reset();
        ::_exit(0);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    CHECK(directory.entries() == 1);
    CHECK(testing::connect_to(address) == 0);
}

TEST_CASE("a listener that cannot get its directory leaves no descriptor") {
    const testing::TempDir directory;
    const auto before = testing::open_descriptors();
    const auto made = Listener::open(testing::listener("unix:" + directory.file("no/socket")));
    REQUIRE_FALSE(made);
    CHECK(made.error().is(std::errc::no_such_file_or_directory));
    CHECK(testing::open_descriptors() == before);
}

TEST_CASE("an update changes backlog and mode of the same socket") {
    const testing::TempDir directory;
    auto settings = testing::listener("127.0.0.1:0");
    settings.backlog = 7;
    const auto tcp = Listener::open(settings).value();
    CHECK(backlog_of(tcp->socket()) == 7);
    settings.backlog = 9;
    tcp->update(settings);
    CHECK(backlog_of(tcp->socket()) == 9);

    const std::string path = directory.file("socket");
    auto file = testing::listener("unix:" + path);
    file.mode = config::FileMode{0600};
    const auto local = Listener::open(file).value();
    file.mode = config::FileMode{0666};
    local->update(file);
    CHECK(testing::permissions(path) == 0666);
    file.mode.reset();
    local->update(file);
    CHECK(testing::permissions(path) == 0666);
}

TEST_CASE("a listener that another process opened is adopted with its address and its clients") {
    const auto opened = Listener::open(testing::listener("127.0.0.1:0")).value();
    REQUIRE(testing::connect_to(opened->bound()) == 0);  // waits to be accepted
    const auto adopted =
        Listener::adopt(opened->socket().duplicate().value(), opened->configured()).value();
    CHECK(adopted->configured() == opened->configured());
    CHECK(adopted->bound() == opened->bound());
    const Fd client{::accept4(adopted->socket().get(), nullptr, nullptr, SOCK_CLOEXEC)};
    CHECK(client);
}

TEST_CASE("what does not listen is not adopted") {
    const auto address = Address::parse("127.0.0.1:0").value();
    CHECK_FALSE(Listener::adopt(Fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}, address));
    CHECK_FALSE(Listener::adopt(Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}, address));
}

TEST_CASE("of a socket file that was passed on only its owner disposes") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    auto opened = Listener::open(testing::listener("unix:" + path)).value();
    auto adopted =
        Listener::adopt(opened->socket().duplicate().value(), opened->configured()).value();
    adopted.reset();
    CHECK(std::filesystem::exists(path));  // it was never its own
    adopted = Listener::adopt(opened->socket().duplicate().value(), opened->configured()).value();
    adopted->own();
    opened->disown();
    opened.reset();
    CHECK(std::filesystem::exists(path));
    CHECK(testing::connect_to(adopted->bound()) == 0);
    adopted.reset();
    CHECK_FALSE(std::filesystem::exists(path));
}
