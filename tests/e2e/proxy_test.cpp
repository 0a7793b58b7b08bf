#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "processes.h"
#include "server.h"
#include "swarm.h"
#include "upstream.h"

namespace e2e {
namespace {

constexpr std::uint64_t mebibyte = 1 << 20;

Config proxy_to(const Endpoint& upstream) {
    Config config;
    config.listeners = {{"127.0.0.1:0", "proxy"}};
    config.upstreams = {upstream.text()};
    return config;
}

TEST_CASE("1,000 connections in parallel get every byte back through the proxy") {
    const std::string app = proxy_app();
    const TempDir dir;
    Config config;
    const std::string echo = "unix:" + dir.file("echo.sock");
    config.listeners = {{"127.0.0.1:0", "proxy"}, {echo, "echo"}};
    config.upstreams = {echo};
    Server server{app, config, dir};
    const SwarmReport report =
        run_swarm(server.at("proxy"), {.connections = 1'000, .bytes_each = 50'000});
    INFO(report.text());
    REQUIRE(report.completed == 1'000);
    REQUIRE(report.served_at_once == 1'000);
}

TEST_CASE("100 MiB go each way through the proxy at once and every byte is right") {
    const std::string app = proxy_app();
    const TempDir dir;
    const Flow there{.seed = 11, .bytes = 100 * mebibyte};
    const Flow back{.seed = 12, .bytes = 100 * mebibyte};
    Upstream upstream{[=](Connection& peer) { exchange(peer, back, there, later()); }};
    Server server{app, proxy_to(upstream.endpoint()), dir};
    Connection client = Connection::to(server.at("proxy"));
    exchange(client, there, back, later());
    CHECK(upstream.errors() == "");
}

TEST_CASE("through the proxy a client may close its half first and still hear everything") {
    const std::string app = proxy_app();
    const TempDir dir;
    const Flow question{.seed = 1, .bytes = 3 * mebibyte};
    const Flow answer{.seed = 2, .bytes = 20 * mebibyte};
    Upstream upstream{[=](Connection& peer) {
        peer.receive(question, later());
        peer.expect_end();
        peer.send(answer, later());
    }};
    Server server{app, proxy_to(upstream.endpoint()), dir};
    Connection client = Connection::to(server.at("proxy"));
    client.send(question, later());
    client.shutdown_write();
    client.receive(answer, later());
    client.expect_end();
    CHECK(upstream.errors() == "");
}

TEST_CASE("through the proxy an upstream may close its half first and still hear everything") {
    const std::string app = proxy_app();
    const TempDir dir;
    const Flow story{.seed = 3, .bytes = 20 * mebibyte};
    Upstream upstream{[=](Connection& peer) {
        peer.send("listening");
        peer.shutdown_write();
        peer.receive(story, later());
        peer.expect_end();
    }};
    Server server{app, proxy_to(upstream.endpoint()), dir};
    Connection client = Connection::to(server.at("proxy"));
    CHECK(client.receive_to_end() == "listening");
    client.send(story, later());
    client.shutdown_write();
    CHECK(upstream.errors() == "");
}

std::uint64_t workers_resident_kib(const Server& server) {
    std::uint64_t sum = 0;
    for (const pid_t pid : server.workers()) sum += resident_kib(pid);
    return sum;
}

/// Waits until a sender makes no progress for half a second: it is blocked.
bool settles(const std::atomic<std::uint64_t>& progress, Deadline deadline) {
    std::uint64_t last = progress;
    Stopwatch unchanged;
    return eventually(deadline, [&] {
        const std::uint64_t now = progress;
        if (now != last) {
            last = now;
            unchanged = Stopwatch{};
        }
        return now > 0 && unchanged.elapsed() > milliseconds{500};
    });
}

TEST_CASE("a slow reader blocks the sender and never grows the proxy's memory") {
    const std::string app = proxy_app();
    const TempDir dir;
    const Flow flood{.seed = 21, .bytes = 256 * mebibyte};
    std::atomic<std::uint64_t> sent{0};
    Upstream upstream{[&](Connection& peer) {
        const std::string request = peer.receive(4);
        if (request == "ping") return peer.send("pong");
        peer.send(flood, later(), &sent);
    }};
    Server server{app, proxy_to(upstream.endpoint()), dir};
    for (int i = 0; i < 20; ++i) {  // whatever is allocated once is allocated before measuring
        Connection warm_up = Connection::to(server.at("proxy"));
        warm_up.send("ping");
        CHECK(warm_up.receive_to_end() == "pong");
    }
    const std::uint64_t before = workers_resident_kib(server);

    Connection slow = Connection::to(server.at("proxy"));
    slow.send("more");
    REQUIRE(settles(sent, later()));
    const std::uint64_t grown_kib =
        workers_resident_kib(server) - std::min(before, workers_resident_kib(server));
    CHECK(sent < 128 * mebibyte);  // what four socket buffers and the relay hold
    CHECK(grown_kib < 24 * 1'024 * slow_factor);

    slow.receive(flood, later());
    slow.expect_end();
    CHECK(sent == flood.bytes);
    CHECK(upstream.errors() == "");
}

TEST_CASE("a client that stops reading does not hold up the other connections of its worker") {
    const std::string app = proxy_app();
    const TempDir dir;
    std::atomic<std::uint64_t> sent{0};
    const Flow flood{.seed = 22, .bytes = 256 * mebibyte};
    Upstream upstream{[&](Connection& peer) {
        if (peer.receive(4) != "more") return peer.send("pong");
        try {
            peer.send(flood, later(), &sent);
        } catch (const NetError&) {  // the client goes away at the end
        }
    }};
    Config config = proxy_to(upstream.endpoint());
    config.workers = 1;
    Server server{app, config, dir};
    std::vector<Connection> stuck;
    for (int i = 0; i < 8; ++i) {
        stuck.push_back(Connection::to(server.at("proxy")));
        stuck.back().send("more");
    }
    REQUIRE(settles(sent, later()));
    for (int i = 0; i < 50; ++i) {
        Connection client = Connection::to(server.at("proxy"));
        client.send("ping");
        CHECK(client.receive_to_end() == "pong");
    }
    for (Connection& client : stuck) client.reset();
    CHECK(upstream.errors() == "");
}

TEST_CASE("a client's reset reaches the upstream, and an upstream's reset the client") {
    const std::string app = proxy_app();
    const TempDir dir;
    std::atomic<int> noticed{0};
    Upstream upstream{[&](Connection& peer) {
        const std::string first = peer.receive(1);
        peer.send("!");
        if (first == "r") return peer.reset();
        static_cast<void>(peer.wait_gone());
        ++noticed;
    }};
    Server server{app, proxy_to(upstream.endpoint()), dir};
    Connection leaving = Connection::to(server.at("proxy"));
    leaving.send("x");
    CHECK(leaving.receive(1) == "!");
    leaving.reset();
    Connection left = Connection::to(server.at("proxy"));
    left.send("r");
    static_cast<void>(left.wait_gone());
    CHECK(upstream.errors() == "");
    CHECK(noticed == 1);
}

}  // namespace
}  // namespace e2e
