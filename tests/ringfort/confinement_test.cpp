// Part of the module, to see what it keeps to itself: how a configuration becomes a sandbox.
module;
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>
module ringfort;

import ringfort.base;
import ringfort.config;
import ringfort.process;
import ringfort.uring;

using namespace ringfort;

namespace {

using Ports = std::vector<std::uint16_t>;

config::Settings listening(const std::string& service) {
    config::Settings settings;
    config::Listener& listener = settings.listeners.emplace_back();
    listener.address = Address::parse("127.0.0.1:7000").value();
    listener.service = service;
    return settings;
}

/// Two services: one that connects, one that reads a file.
Reaches two() {
    return {{"proxy",
             [](const config::Settings&) {
                 return Reach{.connect = {Address::parse("10.0.0.1:80").value(),
                                          Address::parse("[::1]:81").value()}};
             }},
            {"files", [](const config::Settings&) { return Reach{.read = {"/srv"}}; }}};
}

}  // namespace

TEST_CASE("a sandbox has room for what those services reach that have a listener") {
    const Confinement proxy{listening("proxy"), two()};
    CHECK(proxy.options().connect_ports == Ports{80, 81});
    CHECK(proxy.options().read.empty());
    REQUIRE(proxy.permits());
    CHECK(proxy.permits()->connections);
    CHECK_FALSE(proxy.permits()->files);
    const Confinement files{listening("files"), two()};
    CHECK(files.options().connect_ports.empty());
    REQUIRE(files.permits());
    CHECK(files.permits()->files);
    CHECK_FALSE(files.permits()->connections);
    const Confinement neither{listening("echo"), two()};
    REQUIRE(neither.permits());
    CHECK_FALSE(neither.permits()->files);
    CHECK_FALSE(neither.permits()->connections);
}

TEST_CASE("what the configuration allows comes to what services reach") {
    config::Settings settings = listening("proxy");
    settings.sandbox.connect_ports = {443};
    settings.sandbox.write = {"/var/cache"};
    const Confinement both{settings, two()};
    CHECK(both.options().connect_ports == Ports{443, 80, 81});
    REQUIRE(both.permits());
    CHECK(both.permits()->files);
}

TEST_CASE("a unix socket among what is connected to allows them all, abstract ones only by one") {
    const auto reaching = [](const char* address) {
        return Confinement{listening("proxy"),
                           {{"proxy", [=](const config::Settings&) {
                                 return Reach{.connect = {Address::parse(address).value()}};
                             }}}};
    };
    CHECK(reaching("unix:/run/a.sock").options().unix_sockets);
    CHECK_FALSE(reaching("unix:/run/a.sock").options().abstract_sockets);
    CHECK(reaching("unix:@a").options().abstract_sockets);
    CHECK_FALSE(reaching("127.0.0.1:1").options().unix_sockets);
}

TEST_CASE("without a sandbox a ring is not restricted") {
    config::Settings settings = listening("proxy");
    settings.sandbox.mode = config::SandboxMode::off;
    CHECK_FALSE(Confinement(settings, two()).permits());
}

TEST_CASE("a listener of UDP opens nothing more in the sandbox") {
    config::Settings settings = listening("echo");
    settings.listeners[0].protocol = config::Protocol::udp;
    const Confinement echo{settings, two()};
    CHECK_FALSE(echo.options().datagrams);
    REQUIRE(echo.permits());
    CHECK_FALSE(echo.permits()->connections);
}
