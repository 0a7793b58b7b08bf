#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;

namespace {

config::Settings settings(const std::string& text) {
    auto parsed = config::parse({"t.toml", text}, services::registry());
    if (!parsed) FAIL(parsed.problems().text());
    return *std::move(parsed);
}

void check_round_trip(const std::string& text) {
    const config::Registry registry = services::registry();
    const config::Settings first = settings(text);
    const std::string printed = config::effective(first, registry);
    INFO(printed);
    const config::Settings second = settings(printed);
    CHECK(first.master == second.master);
    CHECK(first.worker == second.worker);
    CHECK(first.log == second.log);
    CHECK(first.listeners == second.listeners);
    CHECK(first.zones == second.zones);
    CHECK(first.service<services::Echo>("echo") == second.service<services::Echo>("echo"));
    CHECK(first.service<services::Proxy>("proxy") == second.service<services::Proxy>("proxy"));
    CHECK(first.service<services::Picky>("picky") == second.service<services::Picky>("picky"));
    CHECK(config::effective(second, registry) == printed);
}

constexpr std::string_view begin_mark = "<!-- generated: begin -->\n";
constexpr std::string_view end_mark = "<!-- generated: end -->\n";

}  // namespace

TEST_CASE("the effective configuration of the defaults gives the defaults") {
    check_round_trip(std::string{fixture::listener});
}

TEST_CASE("the effective configuration gives back every value") {
    check_round_trip(R"(
[master]
workers = 3
pid_file = "a \"b\" \\ \u0001 \t \n \u007f ü € 😀 '''"
user = "#no = [comment]"
open_files = 1_073_741_824
[worker]
receive_buffer_size = 5_000
[log]
target = '''
two
lines'''
level = "debug"
format = "json"
[[listener]]
address = "unix:/run/ü \" a.sock"
service = "proxy"
mode = 0o007
[[listener]]
address = "[fe80::1]:443"
service = "echo"
[[zone]]
name = "a"
size = "1GiB"
[[zone]]
name = "b"
size = 65537
[service.echo]
greeting = "\r\n"
shout = true
[service.picky]
secret = "x"
[service.proxy]
upstreams = ["*:1", "unix:@a", "[::]:2"]
fallback = "least-connections"
name = ""
retries = [9, 1_000_000]
tls = {certificate = "ü", version = 2}
[[service.proxy.route]]
prefix = "/"
methods = []
[[service.proxy.route]]
prefix = ""
methods = ["a,b", "]", "\""]
)");
}

TEST_CASE("an empty array that replaces a default stays empty") {
    check_round_trip("[service.proxy]\nretries = []\nroute = []\n" +
                     std::string{fixture::listener});
}

TEST_CASE("the effective configuration has every key, and each meaning once") {
    const std::string two = std::string{fixture::listener} +
                            "[[listener]]\naddress = \"unix:/a\"\nservice = \"echo\"\n";
    const std::string text = fixture::read(two).text;
    for (const std::string_view line :
         {"workers = \"auto\" ", "drain_timeout_ms = 30_000 ", "open_files = 0 ",
          "receive_buffer_size = \"64KiB\" ", "format = \"text\" ", "address = \"unix:/a\"\n",
          "# mode is not set\n", "zone = [] ", "[service.echo]\n", "idle_timeout_ms = 60_000 "}) {
        INFO(line);
        CHECK(text.find(line) != text.npos);
    }
    const std::string_view meaning = "# the name of a service";
    CHECK(text.find(meaning) != text.npos);
    CHECK(text.find(meaning) == text.rfind(meaning));
}

TEST_CASE("the reference says name, type, default, range and meaning of every key") {
    const std::string text = config::reference(services::registry());
    for (const std::string_view line :
         {"## `[master]`\n", "## `[[listener]]`\n", "## `[service.proxy]`\n",
          "## `[service.proxy.tls]`\n", "## `[[service.proxy.route]]`\n",
          "| key | type | default | range | meaning |\n",
          "| `workers` | \"auto\" or integer | `\"auto\"` | 1 to 256 | ",
          "| `drain_timeout_ms` | integer (milliseconds) | `30_000` | at least 0 ms | ",
          "| `address` | address | required |  | ", "| `mode` | octal permissions | not set | ",
          "| `size` | size | required | 64KiB to 64GiB | ",
          "| `upstreams` | array of address | required |  | where to |\n",
          "| `balance` | \"round-robin\" or \"least-connections\" | `\"round-robin\"` |  | ",
          "| `buffer` | size | `\"64KiB\"` | 1KiB to 1MiB | a\\|size |\n"}) {
        INFO(line);
        CHECK(text.find(line) != text.npos);
    }
}

TEST_CASE("docs/reference/config.md says what the schema says") {
    std::ifstream file{RINGFORT_CONFIG_REFERENCE};
    REQUIRE(file);
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    const auto begin = text.find(begin_mark);
    const auto end = text.find(end_mark);
    REQUIRE(begin != text.npos);
    REQUIRE(end != text.npos);
    const auto first = begin + begin_mark.size();
    const std::string generated = "\n" + config::reference({}) + "\n";
    if (std::getenv("RINGFORT_UPDATE_DOCS") != nullptr)
        std::ofstream{RINGFORT_CONFIG_REFERENCE} << text.substr(0, first) << generated
                                                 << text.substr(end);
    else {
        INFO("to write it anew, run this test with RINGFORT_UPDATE_DOCS=1 in the environment");
        CHECK(text.substr(first, end - first) == generated);
    }
}
