// Which upstream a connection of the proxy gets, and what happens when there is none.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "owned_fd.h"
#include "server.h"
#include "upstream.h"

namespace e2e {
namespace {

const Endpoint any_port = Endpoint::parse("127.0.0.1:0");

Config proxy_to(std::vector<std::string> upstreams) {
    Config config;
    config.workers = 1;
    config.listeners = {{"127.0.0.1:0", "proxy"}};
    config.upstreams = std::move(upstreams);
    return config;
}

Upstream::Handler says(const std::string& name) {
    return [=](Connection& peer) {
        static_cast<void>(peer.receive(1));
        peer.send(name);
    };
}

/// Counts who answers `count` connections.
std::map<std::string, int> ask(const Endpoint& proxy, int count) {
    std::map<std::string, int> answers;
    for (int i = 0; i < count; ++i) {
        Connection client = Connection::to(proxy);
        client.send("?");
        ++answers[client.receive_to_end()];
    }
    return answers;
}

TEST_CASE("a proxy whose upstream is down closes its clients cleanly and lives on") {
    const std::string app = proxy_app();
    const TempDir dir;
    OwnedFd closed = reserve(any_port);
    Server server{app, proxy_to({Endpoint::of_socket(closed.get()).text()}), dir};
    for (int i = 0; i < 20; ++i) {
        Connection client = Connection::to(server.at("proxy"));
        client.expect_end();  // not a reset: the client has sent nothing
    }
    Connection talking = Connection::to(server.at("proxy"));
    talking.send("is anybody there?");
    talking.expect_end();  // not a reset either, although nobody read that

    const Endpoint at = Endpoint::of_socket(closed.get());
    closed.close();
    Upstream upstream{says("back"), at};
    CHECK(ask(server.at("proxy"), 5)["back"] == 5);
}

TEST_CASE("the next upstream is tried, so that one of two being down costs nothing") {
    const std::string app = proxy_app();
    const TempDir dir;
    const OwnedFd closed = reserve(any_port);
    Upstream alive{says("alive")};
    const std::string missing = "unix:" + dir.file("missing.sock");
    Server server{
        app, proxy_to({Endpoint::of_socket(closed.get()).text(), missing, alive.endpoint().text()}),
        dir};
    CHECK(ask(server.at("proxy"), 30)["alive"] == 30);
    CHECK(alive.errors() == "");
}

TEST_CASE("round robin reaches every upstream, TCP or unix") {
    const std::string app = proxy_app();
    const TempDir dir;
    Upstream first{says("first")};
    Upstream second{says("second"), Endpoint::parse("unix:" + dir.file("second.sock"))};
    Upstream third{says("third"), Endpoint::parse("[::1]:0")};
    Server server{
        app, proxy_to({first.endpoint().text(), second.endpoint().text(), third.endpoint().text()}),
        dir};
    const auto answers = ask(server.at("proxy"), 30);
    CHECK(answers == std::map<std::string, int>{{"first", 10}, {"second", 10}, {"third", 10}});
}

/// An address at which nobody answers: it has a backlog of nobody who accepts, and once that is
/// full, the kernel drops further SYNs.
class Deaf {
public:
    Deaf() {
        try {
            while (filling_.size() < 8)
                filling_.push_back(Connection::to(at_, Deadline::after(milliseconds{100})));
        } catch (const NetError& error) {
            REQUIRE(error.failure == Failure::timed_out);
        }
    }
    [[nodiscard]] std::string text() const { return at_.text(); }

private:
    OwnedFd listener_ = listen_on(any_port, 0);
    Endpoint at_ = Endpoint::of_socket(listener_.get());
    std::vector<Connection> filling_;
};

TEST_CASE("an upstream that does not answer in time is passed over") {
    const std::string app = proxy_app();
    const TempDir dir;
    const Deaf deaf;
    Upstream alive{says("alive")};
    Config config = proxy_to({deaf.text(), alive.endpoint().text()});
    config.connect_timeout_ms = 200;
    Server server{app, config, dir};
    CHECK(ask(server.at("proxy"), 4)["alive"] == 4);
}

TEST_CASE("a drain that cuts a connect to an upstream does not blame the upstream") {
    const std::string app = proxy_app();
    const TempDir dir;
    const Deaf deaf;
    Config config = proxy_to({deaf.text()});
    config.connect_timeout_ms = 60'000;
    config.drain_timeout_ms = 200;
    Server server{app, config, dir};
    Connection client = Connection::to(server.at("proxy"));
    server.signal(SIGTERM);
    static_cast<void>(client.wait_gone());
    const auto status = server.wait();
    REQUIRE(status);
    CHECK(status->code() == 0);
    CHECK(server.log().find("1 connections are cut").size() == 1);
    CHECK(server.log().find("upstream ").empty());
}

}  // namespace
}  // namespace e2e
