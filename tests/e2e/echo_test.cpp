#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "endpoint.h"
#include "files.h"
#include "pattern.h"
#include "server.h"
#include "swarm.h"

namespace e2e {
namespace {

/// Sends, closes its half, and expects all of it back, then the end.
void echo_with_half_close(const Endpoint& endpoint) {
    Connection client = Connection::to(endpoint);
    client.echo("hello");
    client.send("goodbye");
    client.shutdown_write();
    CHECK(client.receive_to_end() == "goodbye");
}

TEST_CASE("a message comes back over TCP, IPv6 and a unix socket, also after a half close") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.listeners = {{"127.0.0.1:0"}, {"[::1]:0"}, {"unix:" + dir.file("echo.sock")}};
    Server server{app, config, dir};
    for (const char* host : {"127.0.0.1", "[::1]", "unix:"}) {
        INFO(host);
        echo_with_half_close(server.at("echo", host));
    }
}

TEST_CASE("megabytes come back in order from one connection that never pauses") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, {}, dir};
    const Flow flow{.seed = 5, .bytes = 64 << 20};
    Connection client = Connection::to(server.at("echo"));
    exchange(client, flow, flow, later());
}

TEST_CASE("a client that closes without a word leaves no trace") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, {}, dir};
    {
        Connection silent = Connection::to(server.at("echo"));
        silent.shutdown_write();
        silent.expect_end();
    }
    echo_with_half_close(server.at("echo"));
}

TEST_CASE("1,000 connections in parallel get every byte back") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.listeners = {{"127.0.0.1:0"}, {"unix:" + dir.file("echo.sock")}};
    Server server{app, config, dir};
    for (const char* host : {"127.0.0.1", "unix:"}) {
        const SwarmReport report =
            run_swarm(server.at("echo", host), {.connections = 1'000, .bytes_each = 50'000});
        INFO(host << ": " << report.text());
        REQUIRE(report.completed == 1'000);
        REQUIRE(report.served_at_once == 1'000);
    }
}

TEST_CASE("a single worker serves everything too") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 1;
    Server server{app, config, dir};
    CHECK(server.workers().size() == 1);
    const SwarmReport report =
        run_swarm(server.at("echo"), {.connections = 200, .bytes_each = 50'000});
    INFO(report.text());
    CHECK(report.completed == 200);
}

}  // namespace
}  // namespace e2e
