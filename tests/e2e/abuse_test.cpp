// Clients that behave badly.
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "pattern.h"
#include "processes.h"
#include "server.h"
#include "swarm.h"

namespace e2e {
namespace {

/// A proxy in front of the echo of the same server.
Config both(const TempDir& dir) {
    Config config;
    const std::string echo = "unix:" + dir.file("echo.sock");
    config.listeners = {{"127.0.0.1:0", "proxy"}, {"127.0.0.1:0", "echo"}, {echo, "echo"}};
    config.listeners[1].address = "127.0.0.2:0";
    config.upstreams = {echo};
    config.control = dir.file("control.sock");
    return config;
}

std::size_t idle_workers(const std::string& status) {
    const std::string idle = ", 0 connections, ";
    std::size_t count = 0;
    for (auto at = status.find(idle); at != std::string::npos; at = status.find(idle, at + 1))
        ++count;
    return count;
}

void storm(const Endpoint& endpoint) {
    for (int i = 0; i < 2'000; ++i) {
        Connection client = Connection::to(endpoint);
        switch (i % 4) {
            case 0:
                break;  // closed at once
            case 1:
                client.reset();
                break;
            case 2:
                client.send("unread");
                break;
            case 3:
                client.send(Pattern{1}.bytes(20'000));
                client.reset();  // in the middle of what comes back
                break;
        }
    }
}

TEST_CASE("storms of connects, closes and resets kill no worker and leak no connection") {
    const std::string app = proxy_app();
    const TempDir dir;
    Server server{app, both(dir), dir};
    const std::vector<pid_t> workers = server.wait_workers(2);
    for (const char* service : {"echo", "proxy"}) {
        const Endpoint endpoint =
            server.at(service, service == std::string{"echo"} ? "127.0.0.2" : "127.0.0.1");
        storm(endpoint);
        const SwarmReport report = run_swarm(endpoint, {.connections = 100, .bytes_each = 20'000});
        INFO(service << ": " << report.text());
        CHECK(report.completed == 100);
    }
    CHECK(server.workers() == workers);
    // Not one is left, also of those whose end came together with their last bytes.
    CHECK(eventually(soon(), [&] {
        const std::string status = ctl(app, dir.file("control.sock"), {"status"}).output;
        return idle_workers(status) == 2;
    }));
}

TEST_CASE("2,000 writes of one byte each come back through echo and proxy") {
    const std::string app = proxy_app();
    const TempDir dir;
    Server server{app, both(dir), dir};
    for (const char* host : {"127.0.0.1", "127.0.0.2"}) {
        Connection client =
            Connection::to(server.at(host == std::string{"127.0.0.1"} ? "proxy" : "echo", host));
        const std::string text = Pattern{9}.bytes(2'000);
        for (const char byte : text) client.send(std::string(1, byte));
        client.shutdown_write();
        CHECK((client.receive_to_end() == text));
    }
}

TEST_CASE("an idle connection is closed after the timeout, a talking one is not") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.echo_idle_timeout_ms = 400;
    Server server{app, config, dir};
    Connection idle = Connection::to(server.at("echo"));
    Connection talking = Connection::to(server.at("echo"));
    idle.echo("hello");
    const Stopwatch stopwatch;
    while (stopwatch.elapsed() < milliseconds{1'200}) {
        talking.echo("still talking");
        CHECK(talking.silent_for(milliseconds{100}));
    }
    CHECK_FALSE(idle.silent_for(milliseconds{0}));
    idle.expect_end();
    talking.echo("to the last");
}

TEST_CASE("a client that never says a word is closed after the timeout, not before") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.echo_idle_timeout_ms = 400;
    Server server{app, config, dir};
    Connection client = Connection::to(server.at("echo"));
    const Stopwatch stopwatch;
    client.expect_end();
    CHECK(stopwatch.elapsed() >= milliseconds{300});
}

TEST_CASE("the proxy closes a connection on which neither side speaks") {
    const std::string app = proxy_app();
    const TempDir dir;
    Config config = both(dir);
    config.proxy_idle_timeout_ms = 300;
    Server server{app, config, dir};
    Connection client = Connection::to(server.at("proxy"));
    client.echo("hello");
    const Stopwatch stopwatch;
    static_cast<void>(client.wait_gone());
    CHECK(stopwatch.elapsed() >= milliseconds{200});
}

TEST_CASE("a client that never reads its echo is closed by the idle timeout") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.echo_idle_timeout_ms = 500;
    Server server{app, config, dir};
    Connection deaf = Connection::to(server.at("echo"));
    try {
        deaf.send(Flow{.seed = 1, .bytes = 1ULL << 30}, soon());
        FAIL("a gigabyte has been taken although nothing was read");
    } catch (const NetError& error) {
        CHECK(error.failure == Failure::reset);
    }
}

}  // namespace
}  // namespace e2e
