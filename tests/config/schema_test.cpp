#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;
using Headlines = std::vector<std::string>;

unsigned count_of_lightest_service();  // weight_test.cpp

namespace {

constexpr std::string_view to_proxy = "[[listener]]\naddress = \"unix:/a\"\nservice = \"proxy\"\n";

config::Settings settings(const std::string& text) {
    auto parsed = config::parse({"t.toml", text}, services::registry());
    if (!parsed) FAIL(parsed.problems().text());
    return *std::move(parsed);
}

struct Pair {
    std::uint32_t low = 1;
    std::uint32_t high = 2;
};

config::Registry pairs() {
    config::Registry registry;
    registry.add("pair", config::table<Pair>("Two numbers.")
                             .field("low", &Pair::low, "the lower", {},
                                    [](const std::uint32_t& low) {
                                        return low == 13 ? std::optional{config::Complaint{
                                                               "must not be 13", "try 12"}}
                                                         : std::nullopt;
                                    })
                             .field("high", &Pair::high, "the higher")
                             .check([](const Pair& pair, config::Faults& faults) {
                                 if (pair.low > pair.high)
                                     faults.add({{"low"}, "`low` is above `high`"});
                             }));
    return registry;
}

std::string pair_problems(const std::string& lines) {
    const auto parsed = config::parse({"p",
                                       "[[listener]]\naddress = \"unix:/a\"\nservice = \"pair\"\n"
                                       "[service.pair]\n" +
                                           lines},
                                      pairs());
    return parsed ? "" : parsed.problems().text();
}

/// Runs something in a child; returns the signal that ended it, 0 if none did.
template <class Body>
int signal_of(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        std::signal(SIGABRT, SIG_DFL);  // not the test framework's handler
        ::close(STDERR_FILENO);
        body();
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

auto pair_table() {
    return config::table<Pair>("Two numbers.");
}

}  // namespace

TEST_CASE("every registered service has a configuration, written or not") {
    const config::Settings s =
        settings("[service.echo]\nidle_timeout_ms = 5\n" + std::string{fixture::listener});
    CHECK(s.service<services::Echo>("echo") ==
          services::Echo{ringfort::Milliseconds{5}, false, ""});
    CHECK(s.service<services::Proxy>("proxy") == services::Proxy{});
    CHECK(s.service<services::Picky>("picky") == services::Picky{});
}

TEST_CASE("services may have optional values, arrays, names, tables and arrays of tables") {
    const config::Settings s = settings(std::string{to_proxy} + R"(
[service.proxy]
upstreams = ["127.0.0.1:1", "unix:@b"]
balance = "least-connections"
fallback = "round-robin"
name = "front"
bias = -10
buffer = "1MiB"
retries = []
[service.proxy.tls]
certificate = "a.pem"
version = 3
[[service.proxy.route]]
prefix = "/"
[[service.proxy.route]]
prefix = "/b"
methods = ["PUT", "POST"]
)");
    const auto& proxy = s.service<services::Proxy>("proxy");
    REQUIRE(proxy.upstreams.size() == 2);
    CHECK(proxy.upstreams[1].text() == "unix:@b");
    CHECK(proxy.balance == services::Balance::least_connections);
    CHECK(proxy.fallback == services::Balance::round_robin);
    CHECK(proxy.name == "front");
    CHECK(proxy.bias == -10);
    CHECK(proxy.buffer.count == 1U << 20);
    CHECK(proxy.retries.empty());
    CHECK(proxy.tls == services::Tls{"a.pem", 3});
    CHECK(proxy.routes == std::vector<services::Route>{{"/", {"GET"}}, {"/b", {"PUT", "POST"}}});
}

TEST_CASE("what is wrong inside a service's tables is reported with all the rest") {
    CHECK(fixture::read(std::string{to_proxy} + "[service.proxy]\n"
                                                "upstreams = [\"unix:/b\"]\n"
                                                "tls.version = 1\n"
                                                "[[service.proxy.route]]\n"
                                                "prefix = 1\n"
                                                "[[service.proxy.route]]\n"
                                                "metods = []\n")
              .headlines == Headlines{"6:15: `version` must be 2 to 3",
                                      "8:10: `prefix` must be a string, not an integer",
                                      "9:1: the required key `prefix` is missing",
                                      "10:1: unknown key `metods`: did you mean `methods`?"});
}

TEST_CASE("a required key is missing only where a listener uses the service") {
    CHECK(fixture::read(fixture::listener).good);
    CHECK(fixture::read("[service.proxy]\nbias = 1\n" + std::string{fixture::listener}).good);
    CHECK(fixture::read("[service.proxy]\nbias = 1\n" + std::string{to_proxy}).headlines ==
          Headlines{"1:1: the required key `upstreams` is missing"});
    CHECK(fixture::read(to_proxy).headlines ==
          Headlines{"3:11: service `proxy` needs `upstreams`, and there is no [service.proxy]"});
}

TEST_CASE("a table of a service that is not there is a problem") {
    CHECK(fixture::read_in("[service.ech]", "").headlines ==
          Headlines{"1:10: unknown service `ech`: did you mean `echo`?"});
    CHECK(fixture::read_in("[service]", "echo = 1").headlines ==
          Headlines{"2:1: `echo` is not the table of a service"});
    CHECK(fixture::read("service = 1\n" + std::string{fixture::listener}).headlines ==
          Headlines{"1:11: `service` must be a table, not an integer"});
    CHECK(fixture::read("[[service.echo]]\n" + std::string{fixture::listener}).headlines ==
          Headlines{"1:11: `echo` is not the table of a service"});
}

TEST_CASE("validators and checks of a schema are asked") {
    CHECK(pair_problems("low = 2").empty());
    CHECK(pair_problems("low = 13\nhigh = 20") ==
          "p:5:7: error: `low` must not be 13\n"
          "    5 | low = 13\n"
          "      |       ^^\n"
          "  help: try 12\n");
    CHECK(pair_problems("low = 3").starts_with("p:5:7: error: `low` is above `high`\n"));
}

TEST_CASE("checks are not asked about values that could not be read") {
    CHECK(pair_problems("low = 3\nhigh = \"x\"").find("above") == std::string::npos);
}

TEST_CASE("an application without services says so") {
    const auto parsed = config::parse(
        {"p", "[service.a]\n[[listener]]\naddress = \"unix:/a\"\nservice = \"a\"\n"}, {});
    REQUIRE_FALSE(parsed);
    CHECK(parsed.problems().list.size() == 2);
    CHECK(parsed.problems().list[0].help == "this application has no services");
}

TEST_CASE("settings outlive the registry and are shared by copies") {
    config::Settings copy;
    {
        const config::Settings s = settings(std::string{fixture::listener});
        copy = s;
        CHECK(&copy.service<services::Echo>("echo") == &s.service<services::Echo>("echo"));
    }
    CHECK(copy.service<services::Echo>("echo") == services::Echo{});
}

TEST_CASE("a service's schema is written without a single header") {
    CHECK(count_of_lightest_service() == 5);
}

TEST_CASE("a schema that contradicts itself ends the program when it is built") {
    config::Registry registry;
    const auto add = [&](auto table) { registry.add("a", std::move(table)); };
    const auto low = [](std::string name, config::Options options) {
        return pair_table().field(std::move(name), &Pair::low, "", options);
    };
    CHECK(signal_of([&] { add(low("low", {.min = 1})); }) == 0);
    CHECK(signal_of([&] { add(low("low", {.min = 2})); }) == SIGABRT);
    CHECK(signal_of([&] { add(low("Low", {})); }) == SIGABRT);
    CHECK(signal_of([&] { add(low("low", {}).field("low", &Pair::high, "")); }) == SIGABRT);
    CHECK(
        signal_of([&] {
            add(config::table<services::Echo>("").field("idle", &services::Echo::idle_timeout, ""));
        }) == SIGABRT);
    CHECK(signal_of([&] {
              add(low("low", {}));
              add(low("low", {}));
          }) == SIGABRT);
    CHECK(signal_of([&] { registry.add("no good", low("low", {})); }) == SIGABRT);
}

TEST_CASE("settings are read by their own name and type, or the program ends") {
    const config::Settings s = settings(std::string{fixture::listener});
    CHECK(signal_of([&] { std::ignore = s.service<services::Echo>("echo"); }) == 0);
    CHECK(signal_of([&] { std::ignore = s.service<services::Echo>("eco"); }) == SIGABRT);
    CHECK(signal_of([&] { std::ignore = s.service<services::Proxy>("echo"); }) == SIGABRT);
}
