#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "fixture.h"

using Headlines = std::vector<std::string>;
using namespace std::string_literals;

namespace {

Headlines headlines(const std::string& text) {
    return fixture::read(text + "\n" + std::string{fixture::listener}).headlines;
}

}  // namespace

TEST_CASE("a byte that is not UTF-8 is a problem at its place, wherever it stands") {
    for (const std::string bad :
         {"\xff", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80",
          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\x80", "\xe2\x82"}) {
        const auto found = headlines("[log]\n# \u00e9 " + bad);
        REQUIRE(found.size() == 1);
        CHECK(found.front().starts_with("2:5: byte 0x"));
        CHECK(found.front().ends_with(" is not UTF-8"));
    }
}

TEST_CASE("control characters are a problem at their place") {
    CHECK(headlines("[log]\ntarget = \"a\0b\""s) == Headlines{"2:12: control character 0x00"});
    CHECK(headlines("[log]\n# \x1b[2J") == Headlines{"2:3: control character 0x1b"});
    CHECK(headlines("[\x03server]2x\"") == Headlines{"1:2: control character 0x03"});
    CHECK(headlines("[log]\n#\x7f") == Headlines{"2:2: control character 0x7f"});
    CHECK(headlines("[log]\rlevel = \"info\"") ==
          Headlines{"1:6: a carriage return without a line feed after it"});
}

TEST_CASE("the inputs that are known to crash the library are problems") {
    CHECK(headlines("\xef\xbb\xbb\x65\x72\x0a").size() == 1);
    CHECK(headlines("\u00fc = 1") == Headlines{"1:1: `\u00fc` outside a string"});
    CHECK(headlines("a = \u00a01") == Headlines{"1:5: `\u00a0` outside a string"});
    CHECK(headlines("a = 1.\u00fc") == Headlines{"1:7: `\u00fc` outside a string"});
    CHECK(headlines("[\u00fc]") == Headlines{"1:2: `\u00fc` outside a string"});
    CHECK(headlines("a = 0\"\u00fc\"") == Headlines{"1:6: a quote in the middle of a word"});
    CHECK(headlines("a = \"\"\"b\\\n  \u00fc\"\"\"") ==
          Headlines{"2:3: `\u00fc` first on a line that a backslash joins to the line before"});
    CHECK(headlines("a = \"\"\"b\\\u00fc\"\"\"") == Headlines{"1:10: this is no escape sequence"});
}

TEST_CASE("typographic quotes are told to be straight ones") {
    const auto outcome = fixture::read_in("[log]", "level = \u201cinfo\u201d");
    CHECK(outcome.headlines == Headlines{"2:9: `\u201c` outside a string"});
    CHECK(outcome.text.find("help: write straight quotes") != std::string::npos);
}

TEST_CASE("all characters are welcome in strings, comments and quoted keys") {
    CHECK(fixture::read_in("[service.echo]  # \u00fc \u201c",
                           "greeting = \"\u00fc \u20ac \U0001f600\"")
              .good);
    CHECK(fixture::read_in("[service.echo]", "greeting = '\u00fc # \"' # '\u00fc").good);
    CHECK(fixture::read_in("[service.echo]", "greeting = '''\n\u00fc\n''''' # \u00fc").good);
    CHECK(fixture::read_in("[service.echo]", "greeting = \"\"\"\u00fc \\\\\n\u00fc\"\"\"").good);
    CHECK(headlines("\"\u00fc\" = 1") == Headlines{"1:1: unknown key `\u00fc`"});
}

TEST_CASE("a quote inside a string without a backslash is told to take one") {
    const auto outcome = fixture::read_in("[service.echo]", "greeting = \"say \"hi\" to\"");
    CHECK(outcome.headlines == Headlines{"2:20: a quote in the middle of a word"});
}

TEST_CASE("keys and values nested without end are refused before they are followed") {
    std::string key = "a";
    for (int i = 0; i < 100'000; ++i) key += ".a";
    CHECK(headlines(key + " = 1") == Headlines{"1:32: a key of more than 16 parts"});
    CHECK(headlines("[" + key + "]") == Headlines{"1:33: a key of more than 16 parts"});
    CHECK(headlines("x = {" + key + " = 1}") == Headlines{"1:37: a key of more than 16 parts"});
    const auto deep = headlines("a = " + std::string(100'000, '['));
    REQUIRE(deep.size() == 1);
    CHECK(deep.front().ends_with("arrays and tables are nested too deeply"));
}

TEST_CASE("dots in text are no parts of a key") {
    CHECK(fixture::read_in("[service.echo]  # a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s",
                           "greeting = \"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s\"")
              .good);
}

TEST_CASE("a text over the size limit is refused unread") {
    CHECK(fixture::read(std::string((16U << 20) + 1, '[')).text ==
          "t.toml: error: the configuration is larger than 16MiB\n");
}

TEST_CASE("a byte order mark is no part of the first line") {
    CHECK(fixture::read("\xef\xbb\xbf" + std::string{fixture::listener}).good);
    CHECK(fixture::read("\xef\xbb\xbfx = 1\n" + std::string{fixture::listener}).headlines ==
          Headlines{"1:1: unknown key `x`"});
}

TEST_CASE("lines may end in CR LF") {
    const auto outcome = fixture::read(
        "[master]\r\nworkers = 0\r\n\tdrain_timeout_ms = \"x\"\r\n"
        "[[listener]]\r\naddress = \"unix:/a\"\r\nservice = \"echo\"\r\n");
    CHECK(outcome.text ==
          "t.toml:2:11: error: `workers` must be 1 to 256\n"
          "    2 | workers = 0\n"
          "      |           ^\n"
          "t.toml:3:21: error: `drain_timeout_ms` must be an integer of milliseconds, not a "
          "string\n"
          "    3 |     drain_timeout_ms = \"x\"\n"
          "      |                        ^^^\n"
          "t.toml: 2 errors\n");
}
