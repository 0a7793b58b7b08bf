// Listeners of UDP: answers, their addresses, reloads and workers that die.
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "datagrams.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "kernel_sockets.h"
#include "owned_fd.h"
#include "processes.h"
#include "server.h"
#include "text.h"

namespace e2e {
namespace {

/// A port for both protocols. A socket of TCP that does not listen keeps others from it, but no
/// listener of the server, which sets SO_REUSEADDR as well.
class FreeAddress {
public:
    FreeAddress() : held_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        const int on = 1;
        REQUIRE(::setsockopt(held_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
        const Endpoint any = Endpoint::parse("127.0.0.1:0");
        REQUIRE(::bind(held_.get(), any.data(), any.size()) == 0);
    }
    [[nodiscard]] std::string text() const { return Endpoint::of_socket(held_.get()).text(); }

private:
    OwnedFd held_;
};

Config with_udp(const std::string& address, bool reuseport = false) {
    Config config;
    config.listeners = {{.address = address, .reuseport = reuseport, .udp = true}};
    return config;
}

TEST_CASE("datagrams come back over IPv4 and IPv6, beside connections at the same address") {
    const std::string app = echo_app();
    const TempDir dir;
    const FreeAddress free;
    const std::string address = free.text();
    Config config;
    config.listeners = {{.address = address},
                        {.address = address, .udp = true},
                        {.address = "[::1]:0", .udp = true}};
    Server server{app, config, dir};
    server.log().wait_for("listening on " + address + "/udp (service echo)");
    Connection::to(Endpoint::parse(address)).echo("a stream");
    for (const Endpoint& to : {Endpoint::parse(address), server.at("echo", "[::1]")}) {
        const DatagramClient client{to};
        INFO(to.text());
        CHECK(client.ask("hello") == "hello");
        CHECK(client.ask("").empty());
        const std::string longest(60'000, 'x');
        CHECK(client.ask(longest) == longest);
    }
}

TEST_CASE("at a wildcard every address of the machine answers as itself") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_udp("*:0");
    config.listeners.push_back({.address = "[::]:0", .udp = true});
    Server server{app, config, dir};
    const std::string port = std::to_string(server.at("echo", "0.0.0.0").port());
    for (const char* host : {"127.0.0.1:", "127.0.0.2:", "127.9.8.7:"})
        CHECK(DatagramClient{Endpoint::parse(host + port)}.ask(host) == host);
    const std::string six = std::to_string(server.at("echo", "[::]").port());
    CHECK(DatagramClient{Endpoint::parse("[::1]:" + six)}.ask("six") == "six");
}

TEST_CASE("reloads under load lose no datagram, nor does a change of address or protocol") {
    const bool reuseport = GENERATE(false, true);
    const std::string app = echo_app();
    const TempDir dir;
    const FreeAddress free;
    Config config = with_udp(free.text(), reuseport);
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    DatagramLoad load{endpoint};
    REQUIRE(load.wait_for_more(500));
    for (int i = 0; i < 5; ++i) {
        static_cast<void>(server.reload());
        CHECK(load.wait_for_more(500));
    }
    config.listeners.push_back({.address = endpoint.text()});  // of TCP
    server.write_config(config.text());
    static_cast<void>(server.reload());
    Connection::to(endpoint).echo("a stream");
    CHECK(load.wait_for_more(500));
    CHECK(load.stop() == 0);
    CHECK(server.wait_workers(2).size() == 2);
}

TEST_CASE("2 -> 4 -> 2 workers with reuseport under load lose no datagram") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_udp("127.0.0.1:0", true);
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    DatagramLoad load{endpoint, 16};
    REQUIRE(load.wait_for_more(500));
    std::size_t mark = 0;
    for (const int workers : {4, 2, 4, 2}) {
        mark = server.log().mark();
        config.workers = workers;
        server.write_config(config.text());
        static_cast<void>(server.reload());
        CHECK(load.wait_for_more(500));
        CHECK(server.wait_workers(static_cast<std::size_t>(workers)).size() ==
              static_cast<std::size_t>(workers));
    }
    server.log().wait_for("sockets of workers that are no more: 2 closed", mark);
    CHECK(load.wait_for_more(500));
    CHECK(load.stop() == 0);
    CHECK(datagram_sockets_at(endpoint).size() == 2);
}

TEST_CASE("what waits for a worker that is stopped or killed is answered by a sibling") {
    const bool killed = GENERATE(false, true);
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_udp("127.0.0.1:0", true);
    config.workers = 3;
    config.respawn_backoff_min_ms = 1'500;
    config.watchdog_ms = 2'000;
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    const pid_t victim = server.worker(1);
    stop(victim);
    std::vector<DatagramClient> clients;  // some of them the kernel gives to the victim's socket
    for (int i = 0; i < 48; ++i) clients.emplace_back(endpoint).send("before");
    if (killed) REQUIRE(::kill(victim, SIGKILL) == 0);
    for (const DatagramClient& client : clients) CHECK(client.receive() == "before");
    server.log().wait_for("stands in for slot 1");
    if (!killed) REQUIRE(::kill(victim, SIGCONT) == 0);
    CHECK(server.wait_workers(3, later()).size() == 3);
    for (const DatagramClient& client : clients) CHECK(client.ask("after") == "after");
}

TEST_CASE("a shared socket of UDP is served by whoever lives, also when a worker is killed") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, with_udp("127.0.0.1:0"), dir};
    const DatagramClient client{server.at("echo")};
    for (int i = 0; i < 4; ++i) {
        const pid_t victim = server.wait_workers(2, later()).front();
        REQUIRE(::kill(victim, SIGKILL) == 0);
        REQUIRE(eventually(soon(), [&] { return !is_running(victim); }));  // until then it receives
        for (int j = 0; j < 20; ++j) CHECK(client.ask("hello") == "hello");
    }
    CHECK(server.wait_workers(2, later()).size() == 2);
}

TEST_CASE("ctl tells listeners of UDP and their datagrams, and -t tries to open them") {
    const std::string app = echo_app();
    const TempDir dir;
    const FreeAddress free;
    Config config = with_udp(free.text());
    config.control = dir.file("control.sock");
    Server server{app, config, dir};
    const auto ctl = [&](std::vector<std::string> order) {
        return e2e::ctl(app, *config.control, std::move(order), later()).text();
    };
    const DatagramClient client{Endpoint::parse(config.listeners[0].address)};
    for (int i = 0; i < 30; ++i) CHECK(client.ask("count me") == "count me");
    CHECK(eventually(soon(), [&] { return counted(ctl({"status"}), " datagrams") == 30; }));

    const std::string name = "listener " + config.listeners[0].address + "/udp (echo)";
    const std::string path = dir.file("other.toml");
    write_file(path, with_udp(config.listeners[0].address).text());
    const Finished taken = run({app, "-t", "-c", path});
    CHECK(taken.code == 1);
    CHECK(has(taken.error, "listener " + config.listeners[0].address + "/udp: "));
    CHECK(has(taken.error, "Another program listens there"));

    Config without = config;
    without.listeners = {{}};
    server.write_config(without.text());
    CHECK(has(ctl({"reload", "--dry-run"}), name + ": closed"));
    CHECK(client.ask("still here") == "still here");
}

TEST_CASE("what UDP has not, and a service that has not UDP, are refused") {
    const std::string echo = echo_app();
    const std::string proxy = proxy_app();
    const TempDir dir;
    const std::string path = dir.file("bad.toml");
    write_file(path, with_udp("*:0").text() + "keepalive_ms = 1\n");
    const Finished option = run({echo, "-t", "-c", path});
    CHECK(option.code == 1);
    CHECK(has(option.error, "`keepalive_ms` does not apply to 0.0.0.0:0/udp"));
    Config config = with_udp("*:0");
    config.listeners[0].service = "proxy";
    config.upstreams = {"127.0.0.1:1"};
    write_file(path, config.text());
    const Finished service = run({proxy, "-t", "-c", path});
    CHECK(service.code == 1);
    CHECK(has(service.error, "service `proxy` takes no datagrams"));
}

}  // namespace
}  // namespace e2e
