// kill -9 of the master: nothing may be left.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <optional>
#include <string>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "kernel_sockets.h"
#include "load.h"
#include "server.h"
#include "upstream.h"

namespace e2e {
namespace {

TEST_CASE("kill -9 of the master leaves no process and no port") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 3;
    config.drain_timeout_ms = 1'000;
    Server server{app, config, dir};
    Connection::to(server.at("echo")).echo("hello");
    server.kill_master();
    CHECK(eventually(soon(), [&] { return server.nothing_left(); }));
    CHECK(refuses(server.at("echo")));
}

TEST_CASE("when the master is killed the port closes at once and an open connection may finish") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.drain_timeout_ms = 60'000;
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    Connection held = Connection::to(endpoint);
    held.echo("hello");
    server.kill_master();
    CHECK(eventually(soon(), [&] { return refuses(endpoint); }));
    held.echo("still served");
    held.shutdown_write();
    held.expect_end();
    CHECK(eventually(soon(), [&] { return server.nothing_left(); }));
}

TEST_CASE("when the master is killed the drain timeout ends a connection that stays") {
    const std::string app = proxy_app();
    const TempDir dir;
    Upstream upstream{echo_back};
    Config config;
    config.listeners = {{"127.0.0.1:0", "proxy"}};
    config.upstreams = {upstream.endpoint().text()};
    config.drain_timeout_ms = 500;
    Server server{app, config, dir};
    Connection stubborn = Connection::to(server.at("proxy"));
    stubborn.echo("hello");
    server.kill_master();
    static_cast<void>(stubborn.wait_gone());
    CHECK(eventually(soon(), [&] { return server.nothing_left(); }));
}

TEST_CASE("kill -9 of the master under load leaves nothing, and the next start takes the place") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.drain_timeout_ms = 1'000;
    config.listeners.push_back({"unix:" + dir.file("echo.sock")});
    std::optional<Server> first{std::in_place, app, config, dir};
    const Endpoint endpoint = first->at("echo", "127.0.0.1");
    Load load{endpoint};
    REQUIRE(load.wait_for_more(50));
    first->kill_master();
    CHECK(eventually(soon(), [&] { return load.failed(Failure::refused) > 0; }));
    load.stop();
    CHECK(eventually(soon(), [&] { return first->nothing_left(); }));
    CHECK(load.failed(Failure::timed_out) == 0);
    first.reset();

    config.listeners.front().address = endpoint.text();
    Server second{app, config, dir};
    Connection::to(endpoint).echo("the same port again");
    Connection::to(second.at("echo", "unix:")).echo("the same path again");
}

}  // namespace
}  // namespace e2e
