#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;
using Headlines = std::vector<std::string>;

namespace {

/// A listener at line 1 to 4, and what is written behind it.
std::string udp(const std::string& address, const std::string& more = "") {
    return "[[listener]]\naddress = \"" + address + "\"\nprotocol = \"udp\"\nservice = \"echo\"\n" +
           more;
}

Headlines headlines(const std::string& text) {
    return fixture::read(text).headlines;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// A service of datagrams alone.
struct Names {
    std::uint32_t answers = 1;
};

config::Registry with_names() {
    config::Registry registry = services::registry();
    registry.add(
        "names",
        config::table<Names>("Answers questions.").field("answers", &Names::answers, "so many"),
        {.connections = false, .datagrams = true});
    return registry;
}

}  // namespace

TEST_CASE("a listener of UDP is one by its protocol, and of TCP without one") {
    const auto parsed = config::parse({"t.toml", udp("*:53")}, services::registry());
    REQUIRE(parsed);
    CHECK(parsed->listeners.at(0).protocol == config::Protocol::udp);
    CHECK(parsed->listeners.at(0).text() == "0.0.0.0:53/udp");
    const auto other =
        config::parse({"t.toml", std::string{fixture::listener}}, services::registry());
    REQUIRE(other);
    CHECK(other->listeners.at(0).protocol == config::Protocol::tcp);
    CHECK(other->listeners.at(0).text() == "127.0.0.1:0");
    CHECK(headlines("[[listener]]\naddress = \"*:1\"\nservice = \"echo\"\nprotocol = \"ucp\"\n") ==
          Headlines{"4:12: `protocol` must be `tcp` or `udp`, not `ucp`"});
}

TEST_CASE("what UDP has not is refused where it is written, with a remedy") {
    const auto outcome = fixture::read(udp("*:53", R"(backlog = 7
mode = "0600"
owner = "root"
group = "root"
fast_open = 1
defer_accept_ms = 1
keepalive_ms = 1
)"));
    Headlines expected;
    int line = 5;
    for (const char* key :
         {"backlog", "mode", "owner", "group", "fast_open", "defer_accept_ms", "keepalive_ms"}) {
        const auto column = std::to_string(std::string{key}.size() + 4);
        expected.push_back(std::to_string(line++) + ":" + column + ": `" + key +
                           "` does not apply to 0.0.0.0:53/udp");
    }
    CHECK(outcome.headlines == expected);
    CHECK(has(outcome.text, "datagrams wait in the socket's buffer: set receive_buffer"));
    CHECK(fixture::read(udp("*:53",
                            "reuseport = true\nreceive_buffer = \"1MiB\"\n"
                            "send_buffer = \"1MiB\"\n"))
              .good);
    CHECK(headlines(udp("unix:/a")) == Headlines{"3:12: `protocol` does not apply to unix:/a"});
}

TEST_CASE("one address may have a listener of each protocol, and not two of one") {
    const std::string tcp = "[[listener]]\naddress = \"*:53\"\nservice = \"echo\"\n";
    CHECK(fixture::read(tcp + udp("*:53")).good);
    CHECK(headlines(udp("*:53") + tcp + udp("*:53")) ==
          Headlines{"9:11: two listeners have the address 0.0.0.0:53/udp"});
}

TEST_CASE("what is printed of a listener of UDP can be read again") {
    const auto outcome = fixture::read(udp("*:53", "reuseport = true\n"));
    REQUIRE(outcome.good);
    CHECK(has(outcome.text, "protocol = \"udp\""));
    CHECK(fixture::read(outcome.text).text == outcome.text);
}

TEST_CASE("a protocol in the address is told where it belongs") {
    const auto outcome =
        fixture::read("[[listener]]\naddress = \"udp://*:53\"\nservice = \"echo\"\n");
    CHECK(has(outcome.text, "protocol = \"udp\""));
}

TEST_CASE("a listener whose service cannot take what comes there is refused") {
    const config::Registry registry = with_names();
    const auto refused =
        config::parse({"t.toml",
                       "[[listener]]\naddress = \"*:1\"\nprotocol = \"udp\"\nservice = \"proxy\"\n"
                       "[[listener]]\naddress = \"*:1\"\nservice = \"names\"\n"
                       "[service.proxy]\nupstreams = [\"127.0.0.1:1\"]\n"},
                      registry);
    REQUIRE_FALSE(refused);
    const auto& problems = refused.problems().list;
    REQUIRE(problems.size() == 2);
    CHECK(problems[0].headline() ==
          "t.toml:4:11: error: service `proxy` takes no datagrams: it has no `on_datagram`");
    CHECK(problems[0].help ==
          "remove `protocol`, or name a service that takes datagrams: `echo` or `names`");
    CHECK(problems[0].notes.size() == 1);
    CHECK(problems[1].headline() ==
          "t.toml:7:11: error: service `names` takes no connections: it has no `serve`");
    CHECK(problems[1].help.starts_with("add protocol = \"udp\", or name a service"));
    const auto good = config::parse(
        {"t.toml", "[[listener]]\naddress = \"*:1\"\nprotocol = \"udp\"\nservice = \"names\"\n"},
        registry);
    CHECK(good);
}
