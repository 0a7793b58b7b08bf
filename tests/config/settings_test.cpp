#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;
namespace limits = ringfort::limits;
using Headlines = std::vector<std::string>;
using ringfort::Milliseconds;

namespace {

config::Settings settings(const std::string& text) {
    auto parsed = config::parse({"t.toml", text}, services::registry());
    if (!parsed) FAIL(parsed.problems().text());
    return *std::move(parsed);
}

Headlines listeners(const std::string& text) {
    return fixture::read(text).headlines;
}

}  // namespace

TEST_CASE("what is not written has its default") {
    const config::Settings s = settings(std::string{fixture::listener});
    CHECK(s.master == config::Master{});
    CHECK_FALSE(s.master.workers.number.has_value());
    CHECK(s.master.drain_timeout == limits::drain_timeout_ms);
    CHECK(s.worker == config::Worker{});
    CHECK(s.log == config::Log{});
    CHECK(s.zones.empty());
    REQUIRE(s.listeners.size() == 1);
    CHECK(s.listeners[0].address.text() == "127.0.0.1:0");
    CHECK(s.listeners[0].service == "echo");
    CHECK(s.listeners[0].backlog == limits::listen_backlog);
    CHECK_FALSE(s.listeners[0].mode.has_value());
}

TEST_CASE("every key reaches its member") {
    const config::Settings s = settings(R"(
[master]
workers = 7
drain_timeout_ms = 1
ready_timeout_ms = 2
kill_timeout_ms = 3
watchdog_ms = 2000
build_timeout_ms = 2001
upgrade_timeout_ms = 2002
orphan_grace_ms = 2003
respawn_backoff_min_ms = 4
respawn_backoff_max_ms = 5
respawn_healthy_ms = 6
respawn_budget = 7
shutdown_delay_ms = 2004
pid_file = "run/a.pid"
control = "run/a.sock"
user = "nobody"
group = "nogroup"
open_files = 1_000
core_size = "1MiB"
daemon = true
working_directory = "run"
environment = ["PATH", "TZ=UTC"]
[worker]
driver = "epoll"
affinity = "auto"
nice = -5
connections = 8
accept_backoff_ms = 9
receive_buffers = 16
receive_buffer_size = "1KiB"
ring_submissions = 11
ring_completions = 12
[log]
target = "/var/log/a.log"
level = "error"
format = "json"
[[listener]]
address = "unix:/run/a.sock"
service = "echo"
backlog = 13
mode = "0660"
owner = "daemon"
group = "adm"
[[listener]]
address = "127.0.0.1:1"
service = "echo"
reuseport = true
receive_buffer = "5KiB"
send_buffer = "6KiB"
fast_open = 14
defer_accept_ms = 15
keepalive_ms = 16
[[zone]]
name = "a.b-c_9"
size = 65_536
)");
    CHECK(s.master == config::Master{{7},
                                     Milliseconds{1},
                                     Milliseconds{2},
                                     Milliseconds{3},
                                     Milliseconds{2'000},
                                     Milliseconds{2'001},
                                     Milliseconds{2'002},
                                     Milliseconds{2'003},
                                     Milliseconds{4},
                                     Milliseconds{5},
                                     Milliseconds{6},
                                     7,
                                     Milliseconds{2'004},
                                     "run/a.pid",
                                     "run/a.sock",
                                     "nobody",
                                     "nogroup",
                                     1'000,
                                     ringfort::Bytes{1 << 20},
                                     true,
                                     "run",
                                     std::vector<std::string>{"PATH", "TZ=UTC"}});
    CHECK(s.worker == config::Worker{config::Driver::epoll,
                                     config::Affinity::automatic,
                                     -5,
                                     8,
                                     Milliseconds{9},
                                     16,
                                     {1024},
                                     11,
                                     12});
    CHECK(s.log ==
          config::Log{"/var/log/a.log", ringfort::log::Level::error, ringfort::log::Format::json});
    REQUIRE(s.listeners.size() == 2);
    CHECK(s.listeners[0].address.path() == "/run/a.sock");
    CHECK(s.listeners[0].backlog == 13);
    CHECK(s.listeners[0].mode == config::FileMode{0660});
    CHECK(s.listeners[0].owner == "daemon");
    CHECK(s.listeners[0].group == "adm");
    CHECK(s.listeners[1].reuseport);
    CHECK(s.listeners[1].receive_buffer == ringfort::Bytes{5'120});
    CHECK(s.listeners[1].send_buffer == ringfort::Bytes{6'144});
    CHECK(s.listeners[1].fast_open == 14);
    CHECK(s.listeners[1].defer_accept == Milliseconds{15});
    CHECK(s.listeners[1].keepalive == Milliseconds{16});
    REQUIRE(s.zones.size() == 1);
    CHECK(s.zones[0] == config::Zone{"a.b-c_9", {65'536}});
}

TEST_CASE("workers are auto or a number in range") {
    const auto workers = [](const std::string& value) {
        return fixture::read_in("[master]", "workers = " + value).headlines;
    };
    CHECK(workers("\"auto\"").empty());
    CHECK(workers("1").empty());
    CHECK(workers("256").empty());
    CHECK(workers("0") == Headlines{"2:11: `workers` must be 1 to 256"});
    CHECK(workers("257") == Headlines{"2:11: `workers` must be 1 to 256"});
    CHECK(workers("\"many\"") == Headlines{"2:11: `workers` must be \"auto\" or an integer"});
    CHECK(workers("true") ==
          Headlines{"2:11: `workers` must be \"auto\" or an integer, not a boolean"});
}

TEST_CASE("the least back-off is not more than the greatest") {
    const auto both =
        fixture::read_in("[master]", "respawn_backoff_min_ms = 200\nrespawn_backoff_max_ms = 100");
    CHECK(both.headlines == Headlines{"2:26: `respawn_backoff_min_ms` (200) is more than "
                                      "`respawn_backoff_max_ms` (100)"});
    CHECK(both.text.find("    3 | respawn_backoff_max_ms = 100\n") != std::string::npos);
    CHECK(fixture::read_in("[master]", "respawn_backoff_min_ms = 40_000").headlines ==
          Headlines{"2:26: `respawn_backoff_min_ms` (40_000) is more than "
                    "`respawn_backoff_max_ms` (30_000 by default)"});
    CHECK(fixture::read_in("[master]", "respawn_backoff_max_ms = 1").headlines ==
          Headlines{"2:26: `respawn_backoff_min_ms` (100) is more than "
                    "`respawn_backoff_max_ms` (1)"});
}

TEST_CASE("buffers and rings have the sizes the kernel takes") {
    CHECK(fixture::read_in("[worker]", "receive_buffers = 500").headlines ==
          Headlines{"2:19: `receive_buffers` must be a power of two"});
    CHECK(fixture::read_in("[worker]", "receive_buffers = 65536").headlines ==
          Headlines{"2:19: `receive_buffers` must be 1 to 32_768"});
    CHECK(fixture::read_in("[worker]", "ring_submissions = 9_000").headlines ==
          Headlines{"2:20: `ring_submissions` (9_000) is more than `ring_completions` (8_192)"});
}

TEST_CASE("there is at least one listener") {
    CHECK(fixture::read("# nothing\n").headlines.empty() == false);
    CHECK(listeners("listener = []") ==
          Headlines{"1:12: there must be 1 to 4096 of [[listener]], not 0"});
    CHECK(listeners("[listener]\naddress = \"unix:/a\"\n") ==
          Headlines{"1:1: `listener` must be an array of tables, not a table"});
    CHECK(listeners("listener = [1]") ==
          Headlines{"1:13: `listener` must be an array of tables, not an integer"});
}

TEST_CASE("a listener needs an address and a service") {
    CHECK(listeners("[[listener]]\n") == Headlines{"1:1: the required key `address` is missing",
                                                   "1:1: the required key `service` is missing"});
}

TEST_CASE("a key that is misspelt is not missing as well") {
    CHECK(listeners("[[listener]]\nadress = \"unix:/a\"\nservice = \"echo\"\n") ==
          Headlines{"2:1: unknown key `adress`: did you mean `address`?"});
}

TEST_CASE("listeners may be written as inline tables") {
    CHECK(fixture::read("listener = [{address = \"unix:/a\", service = \"echo\"}]").good);
    CHECK(listeners("listener = [{address = \"unix:/a\", service = \"ech\"}]") ==
          Headlines{"1:45: unknown service `ech`: did you mean `echo`?"});
}

TEST_CASE("a listener's service is one that the application has") {
    CHECK(fixture::read("[[listener]]\naddress = \"unix:/a\"\nservice = \"ecko\"\n").text ==
          "t.toml:3:11: error: unknown service `ecko`: did you mean `echo`?\n"
          "    3 | service = \"ecko\"\n"
          "      |           ^^^^^^\n"
          "  help: this application has `echo`, `picky` and `proxy`\n");
}

TEST_CASE("two listeners may share no address, except the kernel's choice of port") {
    const auto two = [](const std::string& a, const std::string& b) {
        const std::string service = "\"\nservice = \"echo\"\n[[listener]]\naddress = \"";
        return fixture::read("[[listener]]\naddress = \"" + a + service + b +
                             "\"\nservice = \"echo\"\n");
    };
    CHECK(two("127.0.0.1:0", "127.0.0.1:0").good);
    CHECK(two("127.0.0.1:1", "127.0.0.1:2").good);
    CHECK(two("*:7", "0.0.0.0:7").headlines ==
          Headlines{"5:11: two listeners have the address 0.0.0.0:7"});
    CHECK(two("unix:@a", "unix:@a").headlines ==
          Headlines{"5:11: two listeners have the address unix:@a"});
}

TEST_CASE("a check over several listeners runs although one of them is wrong") {
    const std::string good = "[[listener]]\naddress = \"unix:/a\"\nservice = \"echo\"\n";
    CHECK(listeners("[[listener]]\naddress = 1\nservice = \"echo\"\n" + good + good) ==
          Headlines{"2:11: `address` must be an address in quotes, not an integer",
                    "8:11: two listeners have the address unix:/a"});
}

TEST_CASE("permissions are octal and belong to a unix socket's file") {
    const auto mode = [](const std::string& address, const std::string& value) {
        return fixture::read("[[listener]]\naddress = \"" + address +
                             "\"\nservice = \"echo\"\nmode = " + value + "\n");
    };
    CHECK(mode("unix:/a", "\"0666\"").good);
    CHECK(mode("unix:/a", "\"600\"").good);
    CHECK(mode("unix:/a", "0o660").good);
    const auto decimal = mode("unix:/a", "666");
    CHECK(decimal.headlines == Headlines{"4:8: `mode` must be written in octal"});
    CHECK(decimal.text.find("help: write mode = \"0666\"") != std::string::npos);
    const Headlines range{"4:8: `mode` must be octal permissions from \"0000\" to \"0777\""};
    CHECK(mode("unix:/a", "\"0999\"").headlines == range);
    CHECK(mode("unix:/a", "\"1777\"").headlines == range);
    CHECK(mode("unix:/a", "\"\"").headlines == range);
    CHECK(mode("unix:/a", "true").headlines ==
          Headlines{"4:8: `mode` must be octal permissions, not a boolean"});
    CHECK(mode("unix:@a", "\"0666\"").headlines ==
          Headlines{"4:8: `mode` does not apply to unix:@a"});
    CHECK(mode("127.0.0.1:1", "\"0666\"").headlines ==
          Headlines{"4:8: `mode` does not apply to 127.0.0.1:1"});
}

TEST_CASE("what a listener cannot have at its address is refused") {
    const auto at = [](const std::string& address, const std::string& line) {
        return fixture::read("[[listener]]\naddress = \"" + address + "\"\nservice = \"echo\"\n" +
                             line + "\n");
    };
    for (const std::string line :
         {"reuseport = true", "fast_open = 1", "defer_accept_ms = 1", "keepalive_ms = 1"}) {
        INFO(line);
        CHECK(at("127.0.0.1:1", line).good);
        const std::string key = line.substr(0, line.find(' '));
        const auto refused = at("unix:/a", line);
        CHECK(refused.headlines == Headlines{"4:" + std::to_string(key.size() + 4) + ": `" + key +
                                             "` does not apply to unix:/a"});
    }
    CHECK(at("unix:/a", "reuseport = true").text.find("shared by all workers") !=
          std::string::npos);
    for (const std::string line : {"owner = \"root\"", "group = \"root\""}) {
        INFO(line);
        CHECK(at("unix:/a", line).good);
        CHECK_FALSE(at("unix:@a", line).good);
        CHECK_FALSE(at("127.0.0.1:1", line).good);
    }
    CHECK(at("unix:/a", "receive_buffer = \"64KiB\"\nsend_buffer = 4096").good);
    CHECK_FALSE(at("unix:/a", "receive_buffer = 1").good);
    CHECK_FALSE(at("127.0.0.1:1", "keepalive_ms = 40_000_000").good);
}

TEST_CASE("a zone has a name of its own and a size in range") {
    const auto zones = [](const std::string& text) {
        return fixture::read(text + "\n" + std::string{fixture::listener}).headlines;
    };
    const std::string size = "size = \"64KiB\"\n";
    CHECK(zones("[[zone]]").size() == 2);
    CHECK(zones("[[zone]]\nname = \"A\"\n" + size) ==
          Headlines{"2:8: `name` may be made of a-z, 0-9, `_`, `.` and `-` only"});
    CHECK(zones("[[zone]]\nname = \"\"\n" + size) == Headlines{"2:8: `name` must not be empty"});
    CHECK(zones("[[zone]]\nname = \"" + std::string(64, 'a') + "\"\n" + size) ==
          Headlines{"2:8: `name` must be 1 to 63 bytes long"});
    CHECK(zones("[[zone]]\nname = \"ringfort.stats\"\n" + size) ==
          Headlines{"2:8: `name` must not begin with `ringfort.`"});
    CHECK(zones("[[zone]]\nname = \"a\"\nsize = \"65535B\"") ==
          Headlines{"3:8: `size` must be 64KiB to 64GiB, not 65535B"});
    const std::string a = "[[zone]]\nname = \"a\"\n" + size;
    CHECK(zones(a + a) == Headlines{"5:8: two zones have the name `a`"});
}

TEST_CASE("unknown keys and tables are told where they might belong") {
    CHECK(fixture::read_in("[mastr]", "").headlines ==
          Headlines{"1:2: unknown table `mastr`: did you mean `master`?"});
    const auto moved = fixture::read_in("[log]", "workers = 1");
    CHECK(moved.headlines == Headlines{"2:1: unknown key `workers`"});
    CHECK(moved.text.find("help: it belongs in [master]") != std::string::npos);
    const auto none = fixture::read_in("[log]", "colour = 1");
    CHECK(none.text.find("help: known here: `format`, `level` and `target`") != std::string::npos);
}

TEST_CASE("a table that is written as a value is told its brackets") {
    const auto outcome = fixture::read("master = 1\n" + std::string{fixture::listener});
    CHECK(outcome.headlines == Headlines{"1:10: `master` must be a table, not an integer"});
    CHECK(outcome.text.find("help: write [master]") != std::string::npos);
}

TEST_CASE("a watchdog is off or patient") {
    const auto watchdog = [](const std::string& value) {
        return fixture::read_in("[master]", "watchdog_ms = " + value).headlines;
    };
    CHECK(watchdog("0").empty());
    CHECK(watchdog("200").empty());
    REQUIRE(watchdog("199").size() == 1);
    CHECK(watchdog("199")[0].find("must be 0 or at least 200 ms") != std::string::npos);
}

TEST_CASE("the control socket is a file: an abstract name has no permissions") {
    const auto control = [](const std::string& value) {
        return fixture::read_in("[master]", "control = \"" + value + "\"").headlines;
    };
    CHECK(control("/run/a.sock").empty());
    CHECK(control("").empty());
    CHECK(control(std::string(107, 'x')).empty());
    CHECK(control(std::string(108, 'x')).size() == 1);
    REQUIRE(control("@everybody").size() == 1);
    CHECK(control("@everybody")[0].find("must be a file") != std::string::npos);
}

TEST_CASE("the environment is a list of names, with or without values") {
    const auto environment = [](const std::string& value) {
        return fixture::read_in("[master]", "environment = " + value).headlines;
    };
    CHECK(environment("[]").empty());
    CHECK(environment("[\"PATH\", \"A=\", \"B==\"]").empty());
    REQUIRE(environment("[\"PATH\", \"=x\"]").size() == 1);
    CHECK(environment("[\"PATH\", \"=x\"]")[0].find("has an entry without a name: \"=x\"") !=
          std::string::npos);
    CHECK(environment("[\"\"]").size() == 1);
    CHECK(environment("\"PATH\"").size() == 1);
}

TEST_CASE("a daemon needs a file for its log") {
    const auto daemon = [](const std::string& log) {
        return fixture::read_in("[master]", "daemon = true\n" + log).headlines;
    };
    CHECK(daemon("[log]\ntarget = \"log\"").empty());
    CHECK(daemon("") == Headlines{"2:10: `daemon` needs a file for the log: nobody reads standard "
                                  "error then"});
    CHECK(daemon("[log]\ntarget = \"stderr\"").size() == 1);
}
