#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;
using Headlines = std::vector<std::string>;

namespace {

config::Sandbox sandbox(const std::string& text) {
    auto parsed = config::parse({"t.toml", "[sandbox]\n" + text + std::string{fixture::listener}},
                                services::registry());
    if (!parsed) FAIL(parsed.problems().text());
    return parsed->sandbox;
}

Headlines headlines(const std::string& text) {
    return fixture::read("[sandbox]\n" + text + std::string{fixture::listener}).headlines;
}

}  // namespace

TEST_CASE("a sandbox is on and has room for nothing unless the configuration says so") {
    const config::Sandbox defaults = sandbox("");
    CHECK(defaults == config::Sandbox{});
    CHECK(defaults.mode == config::SandboxMode::on);
    CHECK(defaults.refusal == config::SandboxRefusal::error);
    CHECK(defaults.read.empty());
    CHECK(defaults.connect_ports.empty());
    CHECK_FALSE(defaults.connect_anywhere);
    CHECK_FALSE(defaults.connect_unix);
    CHECK_FALSE(defaults.datagrams);
}

TEST_CASE("paths, ports and a root directory of a sandbox are read as written") {
    const config::Sandbox read = sandbox(
        "refusal = \"kill\"\nchroot = \"/srv\"\nread = [\"a\", \"/b\"]\nwrite = [\"c\"]\n"
        "connect_ports = [443, 65_535]\n");
    CHECK(read.refusal == config::SandboxRefusal::kill);
    CHECK(read.chroot == "/srv");
    CHECK(read.read == std::vector<std::string>{"a", "/b"});
    CHECK(read.write == std::vector<std::string>{"c"});
    CHECK(read.connect_ports == std::vector<std::uint16_t>{443, 65'535});
}

TEST_CASE("a port out of range and an empty path are refused") {
    CHECK(headlines("connect_ports = [443, 0]\n") ==
          Headlines{"item 2 of `connect_ports` must be 1 to 65_535"});
    CHECK(headlines("read = [\"\"]\n") == Headlines{"item 1 of `read` must not be empty"});
}

TEST_CASE("a root directory is refused while the sandbox is off") {
    CHECK(headlines("mode = \"off\"\nchroot = \"/srv\"\n") ==
          Headlines{"`chroot` has no effect while `mode` is \"off\""});
    CHECK(sandbox("mode = \"off\"\n").mode == config::SandboxMode::off);
}
