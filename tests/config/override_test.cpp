// Keys and values that a command line puts in the place of the text's.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;

namespace {

config::Parsed parse(std::string text, std::vector<std::string> overrides) {
    return config::parse(
        {.name = "t.toml", .text = std::move(text), .overrides = std::move(overrides)},
        services::registry());
}

std::string text_with(std::string_view more) {
    return std::string{fixture::listener} + std::string{more};
}

std::string problems(const std::vector<std::string>& overrides, std::string_view text = "") {
    const auto parsed = parse(text_with(text), overrides);
    return parsed ? "" : parsed.problems().text();
}

}  // namespace

TEST_CASE("an override takes the place of what the text says, and adds what it does not") {
    const auto parsed = parse(text_with("[master]\nworkers = 2\nuser = \"nobody\"\n"),
                              {"master.workers=7", "log.level = \"error\"", "worker.nice=-5",
                               "service.echo.idle_timeout_ms=1234"});
    REQUIRE(parsed);
    CHECK(parsed->master.workers.number == 7);
    CHECK(parsed->master.user == "nobody");
    CHECK(parsed->log.level == ringfort::log::Level::error);
    CHECK(parsed->worker.nice == -5);
    CHECK(config::effective(*parsed, services::registry()).find("idle_timeout_ms = 1_234") !=
          std::string::npos);
}

TEST_CASE("the last of several overrides of a key counts") {
    const auto parsed = parse(text_with(""), {"master.workers=7", "master.workers=3"});
    REQUIRE(parsed);
    CHECK(parsed->master.workers.number == 3);
}

TEST_CASE("a word needs no quotes in an override") {
    const auto parsed = parse(
        text_with(""), {"log.level=debug", "master.pid_file=/run/x-1.pid", "log.format = text"});
    REQUIRE(parsed);
    CHECK(parsed->log.level == ringfort::log::Level::debug);
    CHECK(parsed->master.pid_file == "/run/x-1.pid");
}

TEST_CASE("an override replaces an array as a whole") {
    const auto parsed =
        parse(text_with(""), {"listener=[{address=\"127.0.0.1:81\",service=\"echo\"},"
                              "{address=\"127.0.0.1:82\",service=\"echo\"}]"});
    REQUIRE(parsed);
    REQUIRE(parsed->listeners.size() == 2);
    CHECK(parsed->listeners[1].address.text() == "127.0.0.1:82");
}

TEST_CASE("what is wrong with an override is told as of --set, with its number and column") {
    CHECK(problems({"master.workers=2", "master.wokers=3"}) ==
          "--set:2:8: error: unknown key `wokers`: did you mean `workers`?\n"
          "    2 | master.wokers=3\n"
          "      |        ^^^^^^\n");
    CHECK(problems({"master.workers=0"}).starts_with("--set:1:16: error: `workers` must be"));
    CHECK(problems({"master.workers"}).starts_with("--set:1:15: error: expected `=`"));
    CHECK(problems({"log.level=two words"}).find("write KEY=VALUE") != std::string::npos);
    CHECK(problems({"=1"}).starts_with("--set:1:1: error: "));
    for (const char* nothing : {"", "# workers", "[master]"})
        CHECK(problems({nothing}).starts_with("--set:1:1: error: this sets nothing"));
    CHECK(problems({"log.level=\x01"}).starts_with("--set:1:"));
    CHECK(problems({"listener.address=127.0.0.1:1"}).starts_with("--set:1:"));
    CHECK(problems({"master=3"}).starts_with("--set:1:"));
}

TEST_CASE("problems of the text keep their places beside those of overrides") {
    const std::string text = problems({"log.level=loud"}, "[master]\nwokers = 1\n");
    CHECK(text.find("t.toml:5:1: error: unknown key `wokers`") != std::string::npos);
    CHECK(text.find("--set:1:11: error: `level` must be") != std::string::npos);
    CHECK(text.find("t.toml") < text.find("--set"));
    CHECK(problems({"log.level=loud"}, "x").find("t.toml:4:2") != std::string::npos);
}

TEST_CASE("a note says which file it is of, where that is not the problem's") {
    const std::string split =
        problems({"master.respawn_backoff_min_ms=500"}, "[master]\nrespawn_backoff_max_ms = 400\n");
    INFO(split);
    CHECK(split.starts_with("--set:1:"));
    CHECK(split.find(", in t.toml\n    5 | respawn_backoff_max_ms") != std::string::npos);
    const std::string other =
        problems({"master.respawn_backoff_max_ms=400"}, "[master]\nrespawn_backoff_min_ms = 500\n");
    INFO(other);
    CHECK(other.starts_with("t.toml:5:"));
    CHECK(other.find(", in --set\n    1 | master.respawn_backoff_max_ms") != std::string::npos);
    const std::string together =
        problems({}, "[master]\nrespawn_backoff_min_ms = 500\nrespawn_backoff_max_ms = 400\n");
    CHECK(together.find(", in ") == std::string::npos);
}
