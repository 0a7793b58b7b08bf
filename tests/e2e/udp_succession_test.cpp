// Sockets of UDP outlive the master that has opened them.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "datagrams.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "owned_fd.h"
#include "processes.h"
#include "server.h"
#include "text.h"

namespace e2e {
namespace {

Config with_udp(const TempDir& dir, const std::string& address = "127.0.0.1:0") {
    Config config;
    config.control = dir.file("control.sock");
    config.orphan_grace_ms = 30'000;
    config.listeners = {{.address = address, .udp = true}};
    return config;
}

TEST_CASE("an upgrade under load loses no datagram") {
    const std::string app = echo_app();
    const TempDir dir;
    const Config config = with_udp(dir);
    Server server{app, config, dir};
    DatagramLoad load{server.at("echo")};
    REQUIRE(load.wait_for_more(500));
    const auto ctl = [&](const char* order) {
        return e2e::ctl(app, *config.control, {order}, later());
    };
    const Finished upgraded = ctl("upgrade");
    INFO(upgraded.text());
    CHECK(upgraded.code == 0);
    REQUIRE(server.wait(later()));
    CHECK(load.wait_for_more(500));
    CHECK(load.stop() == 0);
    CHECK(ctl("quit").code == 0);
}

TEST_CASE("a master that is started after one was killed takes its sockets of UDP over") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_udp(dir);
    std::optional<Server> first{std::in_place, app, config, dir};
    const Endpoint endpoint = first->at("echo");
    config.listeners[0].address = endpoint.text();
    DatagramLoad load{endpoint};
    REQUIRE(load.wait_for_more(500));
    const auto orphans = first->workers();
    first->kill_master();
    CHECK(load.wait_for_more(500));
    {
        const Server second{app, config, dir};
        CHECK(load.wait_for_more(500));
        CHECK(eventually(soon(), [&] { return std::ranges::none_of(orphans, is_running); }));
        CHECK(load.wait_for_more(500));
        CHECK(load.stop() == 0);
    }
    CHECK(first->nothing_left());
}

TEST_CASE("a server of one process loses no datagram from one worker to the next") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_udp(dir);
    config.control.reset();
    Server server{app, config, dir, nullptr, {"--single"}};
    DatagramLoad load{server.at("echo")};
    for (int i = 0; i < 3; ++i) {
        CHECK(load.wait_for_more(500));
        static_cast<void>(server.reload());
    }
    CHECK(load.wait_for_more(500));
    CHECK(load.stop() == 0);
}

/// The socket that the next start gets from its service manager.
int to_be_passed = -1;

bool pass() {
    return ::dup2(to_be_passed, 3) == 3 &&
           ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1) == 0 &&
           ::setenv("LISTEN_FDS", "1", 1) == 0 && ::setenv("LISTEN_FDNAMES", "dns.socket", 1) == 0;
}

TEST_CASE("a socket of UDP that the service manager has opened is served, with what came before") {
    const std::string app = echo_app();
    const TempDir dir;
    OwnedFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const Endpoint any = Endpoint::parse("0.0.0.0:0");
    REQUIRE(::bind(socket.get(), any.data(), any.size()) == 0);
    const std::string port = std::to_string(Endpoint::of_socket(socket.get()).port());
    const DatagramClient early{Endpoint::parse("127.0.0.1:" + port)};
    early.send("before the server");
    to_be_passed = ::fcntl(socket.get(), F_DUPFD_CLOEXEC, 100);
    const OwnedFd passed{to_be_passed};
    Server server{app, with_udp(dir, "*:" + port), dir, pass};
    CHECK(early.receive() == "before the server");
    CHECK(DatagramClient{Endpoint::parse("127.0.0.2:" + port)}.ask("as itself") == "as itself");
    CHECK_FALSE(has(server.log().text(), "where no listener is configured"));
}

}  // namespace
}  // namespace e2e
