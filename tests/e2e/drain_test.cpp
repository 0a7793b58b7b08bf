// How a server ends.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "server.h"
#include "upstream.h"

namespace e2e {
namespace {

Config patient() {
    Config config;
    config.drain_timeout_ms = 60'000;
    return config;
}

void expect_clean_exit(Server& server) {
    const auto status = server.wait();
    REQUIRE(status);
    CHECK(status->signal() == 0);
    CHECK(status->code() == 0);
}

TEST_CASE("TERM and QUIT refuse new connections and let an open one finish") {
    const std::string app = echo_app();
    for (const int signal : {SIGTERM, SIGQUIT}) {
        INFO("signal " << signal);
        const TempDir dir;
        Server server{app, patient(), dir};
        const Endpoint endpoint = server.at("echo");
        Connection held = Connection::to(endpoint);
        held.echo("hello");
        server.signal(signal);
        REQUIRE(eventually(soon(), [&] { return refuses(endpoint); }));
        held.echo("finishing");
        CHECK_FALSE(server.wait(Deadline::now()));
        held.send("the last words");
        held.shutdown_write();
        CHECK(held.receive_to_end() == "the last words");
        expect_clean_exit(server);
    }
}

TEST_CASE("TERM lets a proxied transfer finish") {
    const std::string app = proxy_app();
    const TempDir dir;
    const Flow answer{.seed = 4, .bytes = 30 << 20};
    Upstream upstream{[=](Connection& peer) {
        try {
            static_cast<void>(peer.receive(1));
        } catch (const NetError&) {  // a look whether the port is closed already
            return;
        }
        peer.send(answer, later());
    }};
    Config config = patient();
    config.listeners = {{"127.0.0.1:0", "proxy"}};
    config.upstreams = {upstream.endpoint().text()};
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("proxy");
    Connection client = Connection::to(endpoint);
    client.send("?");
    CHECK_FALSE(client.receive(1).empty());  // it flows; the rest follows during the drain
    server.signal(SIGTERM);
    REQUIRE(eventually(soon(), [&] { return refuses(endpoint); }));
    CHECK(client.receive_to_end(later()).size() == answer.bytes - 1);
    client.close();
    expect_clean_exit(server);
    CHECK(upstream.errors() == "");
}

TEST_CASE("the drain timeout ends what does not finish") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.drain_timeout_ms = 400;
    Server server{app, config, dir};
    Connection stubborn = Connection::to(server.at("echo"));
    stubborn.echo("hello");
    const Stopwatch stopwatch;
    server.signal(SIGTERM);
    static_cast<void>(stubborn.wait_gone());
    CHECK(stopwatch.elapsed() >= milliseconds{300});
    expect_clean_exit(server);
}

TEST_CASE("a second TERM is fast") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, patient(), dir};
    const Endpoint endpoint = server.at("echo");
    Connection stubborn = Connection::to(endpoint);
    stubborn.echo("hello");
    server.signal(SIGTERM);
    REQUIRE(eventually(soon(), [&] { return refuses(endpoint); }));
    stubborn.echo("still here");
    server.signal(SIGTERM);
    static_cast<void>(stubborn.wait_gone());
    expect_clean_exit(server);
}

TEST_CASE("INT is fast, at once or during a drain") {
    const std::string app = echo_app();
    for (const bool draining : {false, true}) {
        INFO("draining " << draining);
        const TempDir dir;
        Server server{app, patient(), dir};
        const Endpoint endpoint = server.at("echo");
        Connection stubborn = Connection::to(endpoint);
        stubborn.echo("hello");
        if (draining) {
            server.signal(SIGTERM);
            REQUIRE(eventually(soon(), [&] { return refuses(endpoint); }));
        }
        server.signal(SIGINT);
        static_cast<void>(stubborn.wait_gone());
        expect_clean_exit(server);
    }
}

TEST_CASE("TERM ends the draining generations of earlier reloads too") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, patient(), dir};
    Connection old = Connection::to(server.at("echo"));
    old.echo("hello");
    static_cast<void>(server.reload());
    Connection newer = Connection::to(server.at("echo"));
    newer.echo("hello");
    server.signal(SIGTERM);
    REQUIRE(eventually(soon(), [&] { return refuses(server.at("echo")); }));
    old.echo("both");
    newer.echo("may finish");
    server.signal(SIGTERM);
    static_cast<void>(old.wait_gone());
    static_cast<void>(newer.wait_gone());
    expect_clean_exit(server);
}

}  // namespace
}  // namespace e2e
