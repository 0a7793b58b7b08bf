#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "fixture.h"

import ringfort.config;

using Headlines = std::vector<std::string>;

namespace {

struct Case {
    std::string line;
    std::string headline;
    std::string help;
};

void check(std::string_view header, const std::vector<Case>& cases) {
    for (const Case& one : cases) {
        const auto outcome = fixture::read_in(header, one.line);
        INFO(one.line);
        CHECK(outcome.headlines == Headlines{"2:" + one.headline});
        const auto help = outcome.text.find("  help: ");
        const std::string given =
            help == outcome.text.npos
                ? ""
                : outcome.text.substr(help + 8, outcome.text.size() - help - 9);
        CHECK(given == one.help);
    }
}

}  // namespace

TEST_CASE("a boolean is true or false") {
    check("[service.echo]", {{"shout = 1", "9: `shout` must be a boolean, not an integer",
                              "write shout = true, or false"},
                             {"shout = \"true\"", "9: `shout` must be a boolean, not a string",
                              "write shout = true"}});
}

TEST_CASE("an integer is one, within its range") {
    check("[worker]",
          {{"connections = \"10\"", "15: `connections` must be an integer, not a string",
            "write connections = 10"},
           {"connections = \"ten\"", "15: `connections` must be an integer, not a string", ""},
           {"connections = 1.5",
            "15: `connections` must be an integer, not a number with a fraction", ""},
           {"connections = 2020-01-01", "15: `connections` must be an integer, not a date or time",
            ""},
           {"connections = [1]", "15: `connections` must be an integer, not an array", ""},
           {"connections = {a = 1}", "15: `connections` must be an integer, not a table", ""},
           {"connections = 0", "15: `connections` must be 1 to 10_000_000", ""},
           {"connections = -1", "15: `connections` must be 1 to 10_000_000", ""},
           {"connections = 4_294_967_297", "15: `connections` must be 1 to 10_000_000", ""}});
    CHECK(fixture::read_in("[worker]", "connections = 1_000").good);
    CHECK(fixture::read_in("[worker]", "connections = 0xff").good);
}

TEST_CASE("a time is an integer of milliseconds, and common spellings are converted") {
    const std::string wrong = "20: `drain_timeout_ms` must be an integer of milliseconds, not a ";
    check("[master]",
          {{"drain_timeout_ms = \"500ms\"", wrong + "string", "write drain_timeout_ms = 500"},
           {"drain_timeout_ms = \"2 min\"", wrong + "string", "write drain_timeout_ms = 120_000"},
           {"drain_timeout_ms = \"1h\"", wrong + "string", "write drain_timeout_ms = 3_600_000"},
           {"drain_timeout_ms = \"250\"", wrong + "string", "write drain_timeout_ms = 250"},
           {"drain_timeout_ms = \"soon\"", wrong + "string", ""},
           {"drain_timeout_ms = \"99999999999999d\"", wrong + "string", ""},
           {"drain_timeout_ms = 1.5", wrong + "number with a fraction", ""},
           {"drain_timeout_ms = -1", "20: `drain_timeout_ms` must be at least 0 ms", ""},
           {"drain_timeout_ms = 9_000_000_000_000",
            "20: `drain_timeout_ms` must be 0 to 2_592_000_000 ms", ""},
           {"ready_timeout_ms = 0", "20: `ready_timeout_ms` must be at least 1 ms", ""}});
}

TEST_CASE("a size is bytes or text with a unit, and common spellings are converted") {
    const std::string wrong = "23: `receive_buffer_size` ";
    const std::string units = "sizes are written 4096, \"64KiB\", \"4MiB\" or \"1GiB\"";
    check("[worker]",
          {{"receive_buffer_size = \"4M\"", wrong + "is not a size",
            "write receive_buffer_size = \"4MiB\""},
           {"receive_buffer_size = \"4 kb\"", wrong + "is not a size",
            "write receive_buffer_size = \"4KiB\""},
           {"receive_buffer_size = \"much\"", wrong + "is not a size", units},
           {"receive_buffer_size = \"\"", wrong + "is not a size", units},
           {"receive_buffer_size = true", wrong + "must be a size, not a boolean", units},
           {"receive_buffer_size = -1", wrong + "must not be negative", ""},
           {"receive_buffer_size = 1", wrong + "must be 256B to 16MiB, not 1B", ""},
           {"receive_buffer_size = \"99999999999GiB\"", wrong + "is too large a size", ""},
           {"receive_buffer_size = \"9GiB\"", wrong + "must be 256B to 16MiB, not 9GiB", ""}});
    CHECK(fixture::read_in("[worker]", "receive_buffer_size = 4096").good);
    CHECK(fixture::read_in("[worker]", "receive_buffer_size = \"4 KiB\"").good);
}

TEST_CASE("a string is one, without NUL, within its length") {
    check("[log]",
          {{"target = 3", "10: `target` must be a string, not an integer", "write target = \"3\""},
           {"target = []", "10: `target` must be a string, not an array", ""},
           {"target = \"\"", "10: `target` must not be empty", ""},
           {"target = \"a\\u0000b\"", "10: `target` must not contain a NUL character", ""},
           {"target = \"" + std::string(5000, 'a') + "\"",
            "10: `target` must be 1 to 4_095 bytes long", ""}});
}

TEST_CASE("a name is one of those there are") {
    check("[log]",
          {{"level = \"warn\"",
            "9: `level` must be `debug`, `info`, `warning` or `error`, not `warn`",
            "did you mean \"warning\"?"},
           {"level = \"loud\"",
            "9: `level` must be `debug`, `info`, `warning` or `error`, not `loud`", ""},
           {"format = 1", "10: `format` must be `text` or `json` in quotes, not an integer", ""}});
}

TEST_CASE("an address is one, and common mistakes have their remedies") {
    const auto read = [](const std::string& value) {
        return fixture::read("[[listener]]\nservice = \"echo\"\naddress = " + value + "\n");
    };
    CHECK(read("\"localhost:80\"").text ==
          "t.toml:3:11: error: `address` is not an address: \"localhost:80\"\n"
          "    3 | address = \"localhost:80\"\n"
          "      |           ^^^^^^^^^^^^^^\n"
          "  help: names are not resolved; write \"127.0.0.1:80\"\n");
    const auto help = [&](const std::string& value, const std::string& wanted) {
        const auto outcome = read(value);
        INFO(outcome.text);
        CHECK(outcome.text.find("  help: " + wanted) != std::string::npos);
    };
    help("7000", "write \"*:7000\" or \"127.0.0.1:7000\"");
    help("\"7000\"", "write \"*:7000\" or \"127.0.0.1:7000\"");
    help("\"/run/a.sock\"", "write \"unix:/run/a.sock\" for a unix socket");
    help("\"127.0.0.1\"", "add the port: \"127.0.0.1:7000\"");
    help("\"127.0.0.1:70000\"", "write \"127.0.0.1:7000\", \"[::1]:7000\"");
    help("\"unix:" + std::string(200, 'a') + "\"", "the path may have up to 107 bytes");
    CHECK(read("\"unix:@name\"").good);
    CHECK(read("\"[::1]:7000\"").good);
}

TEST_CASE("an item of an array is named by its number") {
    check("[service.proxy]",
          {{"upstreams = [\"127.0.0.1:1\", 2]",
            "29: item 2 of `upstreams` must be an address in quotes, not an integer",
            "write \"*:2\" or \"127.0.0.1:2\""},
           {"upstreams = \"127.0.0.1:1\"", "13: `upstreams` must be an array, not a string",
            "write upstreams = [\"127.0.0.1:1\"]"},
           {"upstreams = []", "13: `upstreams` must have 1 to 4096 items, not 0", ""}});
    CHECK(
        fixture::read_in("[service.proxy]",
                         "upstreams = [\"unix:/a\"]\nretries = [0,\n  1, 2.5, 3, 4, 5]\nbias = 11")
            .headlines == Headlines{"3:11: `retries` must have 0 to 4 items, not 6",
                                    "5:8: `bias` must be -10 to 10"});
}

TEST_CASE("every wrong item of an array is reported") {
    CHECK(fixture::read_in("[service.proxy]",
                           "upstreams = [\"unix:/a\"]\nretries = [\n  0,\n  1, 2.5]")
              .headlines ==
          Headlines{"4:3: item 1 of `retries` must be 1 to 4_294_967_295",
                    "5:6: item 3 of `retries` must be an integer, not a number with a fraction"});
}

TEST_CASE("strings are quoted so that TOML gives them back") {
    using ringfort::config::quote;
    CHECK(quote("a") == "\"a\"");
    CHECK(quote("a\"b\\c\n\t\r\x01\x7f\u00fc") == "\"a\\\"b\\\\c\\n\\t\\r\\u0001\\u007f\u00fc\"");
}

TEST_CASE("numbers are grouped by thousands") {
    using ringfort::config::grouped;
    CHECK(grouped(0) == "0");
    CHECK(grouped(999) == "999");
    CHECK(grouped(1'000) == "1_000");
    CHECK(grouped(-999) == "-999");
    CHECK(grouped(-1'234'567) == "-1_234_567");
}
