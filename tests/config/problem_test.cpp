#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>

#include "fixture.h"

import ringfort.config;

using ringfort::config::Problem;

namespace {

Problem problem(std::string line, std::uint32_t begin, std::uint32_t end) {
    return {"t.toml", "wrong", {{{7, begin}, {7, end}}, std::move(line)}, "", {}};
}

}  // namespace

TEST_CASE("a problem shows its line, a caret below the value, and the remedy") {
    const auto outcome = fixture::read_in("[master]", "drain_timeout_ms = \"30s\"");
    CHECK(outcome.text ==
          "t.toml:2:20: error: `drain_timeout_ms` must be an integer of milliseconds, not a "
          "string\n"
          "    2 | drain_timeout_ms = \"30s\"\n"
          "      |                    ^^^^^\n"
          "  help: write drain_timeout_ms = 30_000\n");
}

TEST_CASE("a problem with two places shows both") {
    const std::string twice = "[[listener]]\naddress = \"unix:/a\"\nservice = \"echo\"\n";
    CHECK(fixture::read(twice + twice).text ==
          "t.toml:5:11: error: two listeners have the address unix:/a\n"
          "    5 | address = \"unix:/a\"\n"
          "      |           ^^^^^^^^^\n"
          "  note: the first one is here\n"
          "    2 | address = \"unix:/a\"\n"
          "      |           ---------\n"
          "  help: one listener is shared by all workers: remove one of the two\n");
}

TEST_CASE("several problems end in their number") {
    const auto outcome = fixture::read_in("[master]", "workers = 0\ndrain_timeout_ms = -1");
    CHECK(outcome.text.ends_with("t.toml: 2 errors\n"));
}

TEST_CASE("a problem of the whole file has no line") {
    CHECK(fixture::read("").text ==
          "t.toml: error: there is no listener: nothing would be served\n"
          "  help: add [[listener]] with an address and a service\n");
}

TEST_CASE("tabs before the column keep the caret below its character") {
    CHECK(problem("\tx\t= 1", 4, 5).text() ==
          "t.toml:7:4: error: wrong\n"
          "    7 |     x    = 1\n"
          "      |          ^\n");
}

TEST_CASE("wide and combining characters keep the caret below its character") {
    CHECK(problem("\"日本e\u0301\" 1", 8, 9).text() ==
          "t.toml:7:8: error: wrong\n"
          "    7 | \"日本e\u0301\" 1\n"
          "      |         ^\n");
}

TEST_CASE("a caret may stand behind the end of the line") {
    CHECK(problem("x =", 4, 5).text() ==
          "t.toml:7:4: error: wrong\n"
          "    7 | x =\n"
          "      |    ^\n");
}

TEST_CASE("a value of several lines is underlined to the end of its first one") {
    Problem several = problem("x = [1, # one", 5, 1);
    several.snippet.span.end.line = 9;
    CHECK(several.text().ends_with("\n      |     ^^^^^^^^^\n"));
}

TEST_CASE("a long line is cut around the caret") {
    const std::string line = std::string(500, 'a') + "X" + std::string(500, 'b');
    const std::string text = problem(line, 501, 502).text();
    const auto first = text.find("    7 | ");
    const auto second = text.find("      | ");
    REQUIRE(first != text.npos);
    REQUIRE(second != text.npos);
    const std::string source = text.substr(first, text.find('\n', first) - first);
    CHECK(source.size() < 120);
    CHECK(source.starts_with("    7 | ...a"));
    CHECK(source.ends_with("b..."));
    CHECK(source.find('X') == text.find('^') - second);
}

TEST_CASE("what would steer a terminal is not printed") {
    Problem evil = problem("x = \"\x1b[2J\u202e\"", 5, 6);
    evil.message = "say \x1b[2J";
    const std::string text = evil.text();
    CHECK(text.find('\x1b') == text.npos);
    CHECK(text.find("\u202e") == text.npos);
    CHECK(text.find("x = \"\ufffd[2J\ufffd\"") != text.npos);
}

TEST_CASE("a bad file is told of up to the limit, in the order of the text") {
    std::string lines;
    for (int i = 0; i < 150; ++i) lines += "key_" + std::to_string(i) + " = 1\n";
    const auto outcome = fixture::read_in("[master]", lines);
    CHECK(outcome.headlines.size() == 100);
    CHECK(outcome.headlines.front() == "2:1: unknown key `key_0`");
    CHECK(outcome.headlines.back() == "101:1: unknown key `key_99`");
    CHECK(outcome.text.ends_with("t.toml: 150 errors, 50 of them not shown\n"));
}
