#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "fixture.h"

using Headlines = std::vector<std::string>;

TEST_CASE("everything wrong with a text is reported at once, in its order") {
    const auto outcome = fixture::read(R"([master]
workers = 0
adress = 1
respawn_backoff_min_ms = 60_000
[worker]
receive_buffers = 500
[log]
level = "warn"
[[listener]]
address = "localhost:80"
service = "ecko"
[[listener]]
address = "127.0.0.1:1"
service = "proxy"
backlog = 0
[[zone]]
name = "Limits"
size = "1KiB"
[zones]
[service.echo]
idle_timeout_ms = "1s"
)");
    CHECK(outcome.headlines ==
          Headlines{
              "2:11: `workers` must be 1 to 256",
              "3:1: unknown key `adress`",
              "6:19: `receive_buffers` must be a power of two",
              "8:9: `level` must be `debug`, `info`, `warning` or `error`, not `warn`",
              "10:11: `address` is not an address: \"localhost:80\"",
              "11:11: unknown service `ecko`: did you mean `echo`?",
              "14:11: service `proxy` needs `upstreams`, and there is no [service.proxy]",
              "15:11: `backlog` must be 1 to 65_535",
              "17:8: `name` may be made of a-z, 0-9, `_`, `.` and `-` only",
              "18:8: `size` must be 64KiB to 64GiB, not 1KiB",
              "19:2: unknown table `zones`: did you mean `zone`?",
              "21:19: `idle_timeout_ms` must be an integer of milliseconds, not a string",
          });
}

TEST_CASE("columns count characters, not bytes") {
    CHECK(fixture::read("listener = [{service = \"\u00fc\u20ac\", address = 1}]").headlines ==
          Headlines{"1:24: unknown service `\u00fc\u20ac`",
                    "1:40: `address` must be an address in quotes, not an integer"});
}

TEST_CASE("keys may be written with dots and in quotes") {
    CHECK(fixture::read("master.workers = 2\n\"log\".'level' = \"info\"\n" +
                        std::string{fixture::listener})
              .good);
    CHECK(fixture::read("master.workers = 0\nlog.levl = 1\n" + std::string{fixture::listener})
              .headlines == Headlines{"1:18: `workers` must be 1 to 256",
                                      "2:5: unknown key `levl`: did you mean `level`?"});
}

TEST_CASE("an empty text, and one of comments, have no listener") {
    const Headlines none{"there is no listener: nothing would be served"};
    for (const std::string text : {"", "\n", "# only\n", "\xef\xbb\xbf", "\r\n", "[master]\n"}) {
        const auto outcome = fixture::read(text);
        CHECK_FALSE(outcome.good);
        CHECK(outcome.text.starts_with("t.toml: error: there is no listener"));
    }
}

TEST_CASE("a text may end without a line break") {
    CHECK(fixture::read("[[listener]]\naddress = \"unix:/a\"\nservice = \"echo\"").good);
}

TEST_CASE("large bad files are told of as quickly as small ones") {
    const auto started = std::chrono::steady_clock::now();
    std::string keys = "[master]\n";
    std::string tables;
    std::string swallowed = "[&\n";
    for (int i = 0; i < 20'000; ++i) {
        const std::string n = std::to_string(i);
        keys += "key" + n + " = 1\n";
        tables += "[a" + n + ".b]\n";
        swallowed += "x = 1\n";
    }
    CHECK(fixture::read(keys).text.ends_with("20001 errors, 19901 of them not shown\n"));
    CHECK(fixture::read(tables).text.ends_with("20001 errors, 19901 of them not shown\n"));
    CHECK(fixture::read(swallowed).headlines == Headlines{"1:2: expected a table's name"});
    CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds{30});
}
