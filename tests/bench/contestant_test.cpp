// The yardstick itself, started the way the bench starts it.
#include "contestant.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "../temp_dir.h"

import load;
import ringfort;

using bench::Contestant;
using bench::Launch;
using Catch::Matchers::ContainsSubstring;
using std::chrono::milliseconds;

namespace {

/// An empty log file that is gone with the test.
class TemporaryLog {
public:
    TemporaryLog() { std::ofstream{name_}; }
    [[nodiscard]] const std::string& name() const { return name_; }

private:
    testing::TempDir directory_;
    std::string name_ = directory_.file("log");
};

Launch epoll_echo(const TemporaryLog& log) {
    return {.name = "epoll",
            .command = {BENCH_EPOLL_ECHO, "0"},
            .log_file = log.name(),
            .port_follows = "listening ",
            .ready_word = "",
            .core = -1};
}

Launch shell(const TemporaryLog& log, const std::string& script) {
    Launch launch = epoll_echo(log);
    launch.command = {"/bin/sh", "-c", script};
    return launch;
}

load::Report load_on(const Contestant& server, std::uint32_t connections, std::size_t payload,
                     std::uint32_t depth) {
    load::Options options;
    options.target = *ringfort::Address::parse("127.0.0.1:" + std::to_string(server.port()));
    options.connections = connections;
    options.payload_bytes = payload;
    options.depth = depth;
    options.warmup = milliseconds(20);
    options.duration = milliseconds(200);
    options.timeout = milliseconds(20'000);
    auto report = load::run(options);
    REQUIRE(report.has_value());
    return *report;
}

bool refuses(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool connected =
        connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    return !connected;
}

}  // namespace

TEST_CASE("the epoll echo returns every byte of small, odd, large and pipelined requests") {
    const TemporaryLog log;
    const Contestant server(epoll_echo(log));
    struct Case {
        std::uint32_t connections;
        std::size_t payload;
        std::uint32_t depth;
    };
    for (const Case& one :
         {Case{1, 64, 1}, Case{200, 64, 1}, Case{8, 1, 1}, Case{8, 4097, 3}, Case{16, 64, 16}}) {
        const load::Report report = load_on(server, one.connections, one.payload, one.depth);
        INFO(one.connections << " x " << one.payload << " x " << one.depth << ": "
                             << load::describe(report));
        CHECK(report.clean());
    }
}

TEST_CASE("the epoll echo keeps what a socket does not take at once") {
    const TemporaryLog log;
    const Contestant server(epoll_echo(log));
    // 16 MiB in flight are more than the socket buffers hold: both sides meet full ones.
    const load::Report report = load_on(server, 2, 1U << 20, 8);
    INFO(load::describe(report));
    CHECK(report.clean());
}

TEST_CASE("a contestant's CPU time grows with its work and its processes stay the same") {
    const TemporaryLog log;
    const Contestant server(epoll_echo(log));
    CHECK(server.processes() == 1);
    const auto before = server.cpu();
    CHECK(load_on(server, 4, 64, 1).clean());
    const auto after = server.cpu();
    CHECK(after.total_ns > before.total_ns);
    CHECK(after.leader_ns == after.total_ns);
    CHECK_NOTHROW(server.require_same_processes());
}

TEST_CASE("the CPU time of a contestant's child counts, but not as the leader's") {
    const TemporaryLog log;
    // The child works until it is killed; the shell that started it waits.
    const Contestant server(shell(log, "(while :; do :; done) & echo listening 1234; wait"));
    CHECK(server.processes() == 2);
    const auto before = server.cpu();
    auto now = before;
    while (now.total_ns - before.total_ns < 20'000'000) now = server.cpu();
    CHECK(now.leader_ns - before.leader_ns < 10'000'000);
}

TEST_CASE("a contestant is gone, with its port, when it is destroyed") {
    const TemporaryLog log;
    std::uint16_t port = 0;
    {
        const Contestant server(epoll_echo(log));
        port = server.port();
        CHECK_FALSE(refuses(port));
    }
    CHECK(refuses(port));
}

TEST_CASE("a server that cannot start is reported with what it said") {
    const TemporaryLog log;
    CHECK_THROWS_WITH(
        Contestant(shell(log, "echo no such thing >&2; exit 1")),
        ContainsSubstring("ended instead of serving") && ContainsSubstring("no such thing"));
}

TEST_CASE("a contestant that loses a process is noticed") {
    const TemporaryLog log;
    const TemporaryLog go;  // the child ends when this file is not empty
    const Contestant server(shell(
        log, "(while [ ! -s " + go.name() + " ]; do :; done) & echo listening 1234; wait; cat"));
    REQUIRE(server.processes() == 2);
    CHECK_NOTHROW(server.require_same_processes());

    std::ofstream(go.name()) << "go";
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    bool noticed = false;
    while (!noticed && std::chrono::steady_clock::now() < deadline) {
        try {
            server.require_same_processes();
        } catch (const std::runtime_error& error) {
            noticed = std::string(error.what()).find("not those") != std::string::npos;
        }
    }
    CHECK(noticed);
}
