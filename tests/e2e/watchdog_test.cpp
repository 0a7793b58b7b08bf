// Workers that make no progress while they serve or drain: they are aborted, and replaced.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "kernel_sockets.h"
#include "load.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

/// Where one is to be aborted, and where nobody is, however busy the machine.
constexpr int soon_ms = 400;
constexpr int patient_ms = 2'000;

/// More than a worker without progress is given.
const std::chrono::milliseconds more_than_enough{patient_ms * 2};

Config watched(const std::string& service, int watchdog_ms = soon_ms) {
    Config config;
    config.watchdog_ms = watchdog_ms;
    config.kill_timeout_ms = 200;
    config.listeners = {{.address = "127.0.0.1:0", .service = service}};
    return config;
}

bool replaced(Server& server, pid_t victim, std::size_t workers) {
    return eventually(later(), [&] {
        const auto now = server.workers();
        return now.size() == workers && std::ranges::count(now, victim) == 0;
    });
}

TEST_CASE("a worker that is stopped is aborted, killed and replaced, and the others serve on") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, watched("echo"), dir};
    const std::vector<pid_t> before = server.wait_workers(2);
    Load load{server.at("echo")};
    REQUIRE(load.wait_for_more(50));
    const std::size_t mark = server.log().mark();
    REQUIRE(::kill(before[0], SIGSTOP) == 0);
    const std::string line = server.log().wait_for("has made no progress for", mark);
    CHECK(line.find("(pid " + std::to_string(before[0]) + ")") != std::string::npos);
    CHECK(line.find("It is stopped") != std::string::npos);
    server.log().wait_for("did not end in time: killed", mark);
    CHECK(replaced(server, before[0], 2));
    CHECK(std::ranges::count(server.workers(), before[1]) == 1);
    Connection::to(server.at("echo")).echo("hello");
    CHECK(load.wait_for_more(50));
    load.stop();
}

TEST_CASE(
    "a worker that hangs in the middle of a change of shared memory keeps nobody else waiting") {
    const std::string app = spin_app();
    const TempDir dir;
    Config config = watched("spin");
    config.workers = 3;
    config.more = "\n[[zone]]\nname = \"numbers\"\nsize = \"1MiB\"\n";
    Server server{app, config, dir};
    const auto endpoint = server.at("spin");
    const auto ask = [&](Connection& connection, std::string_view what) {
        connection.send(what);
        return connection.receive(1);
    };
    Connection first = Connection::to(endpoint);
    CHECK(ask(first, "count") == "1");
    const auto before = server.wait_workers(3);
    const std::string how = GENERATE("hold", "stop");
    Connection hangs = Connection::to(endpoint);
    hangs.send(how);
    // Not the same worker, which does nothing any more: whoever accepts now.
    const std::size_t mark = server.log().mark();
    const Stopwatch time;
    std::vector<Connection> waiting;
    for (int i = 0; i < 4; ++i) {
        waiting.push_back(Connection::to(endpoint));
        waiting.back().send("count");
    }
    server.log().wait_for("zone numbers: what worker slot ", mark);
    std::string answers;
    for (Connection& one : waiting) {
        // The hanging one may have taken it before it hung.
        while (answers.size() < 4) {
            try {
                answers += one.receive(1);
                break;
            } catch (const NetError&) {
                one = Connection::to(endpoint);
                one.send("count");
            }
        }
    }
    INFO("after " << time.elapsed().count() << " ms");
    std::ranges::sort(answers);
    CHECK(answers == "2345");  // what the hanging one had begun has not happened
    (void)hangs.wait_gone();
    CHECK(server.wait_workers(3).size() == 3);
}

TEST_CASE("a worker in an endless loop leaves its stack in the log and is replaced") {
    const std::string app = spin_app();
    const TempDir dir;
    Config config = watched("spin");
    config.workers = 1;
    Server server{app, config, dir};
    const pid_t victim = server.wait_workers(1)[0];
    const std::size_t mark = server.log().mark();
    Connection connection = Connection::to(server.at("spin"));
    connection.echo("hello");
    connection.send("spin");
    const std::string line = server.log().wait_for("has made no progress for", mark);
    CHECK(line.find("It is running") != std::string::npos);
    server.log().wait_for("is aborted; its stack:", mark);
    server.log().wait_for("killed by signal 6 (SIGABRT)", mark);
    CHECK(server.log().find("spin(+0x", mark).size() > 3);
    CHECK(server.log().find("did not end in time", mark).empty());
    CHECK(replaced(server, victim, 1));
    Connection::to(server.at("spin")).echo("hello again");
}

TEST_CASE("a worker that hangs while it drains is ended long before its drain time is over") {
    const std::string app = spin_app();
    const TempDir dir;
    Config config = watched("spin");
    config.drain_timeout_ms = 600'000;
    Server server{app, config, dir};
    const std::vector<pid_t> before = server.wait_workers(2);
    Connection connection = Connection::to(server.at("spin"));
    connection.echo("hello");
    const std::size_t mark = server.log().mark();
    static_cast<void>(server.reload());
    connection.send("spin");
    server.log().wait_for("has made no progress for", mark);
    CHECK(eventually(later(), [&] {
        return std::ranges::none_of(before, [](pid_t pid) { return is_running(pid); });
    }));
    CHECK(server.wait_workers(2).size() == 2);
}

TEST_CASE("idle workers, and all processes stopped together, are left alone") {
    const std::string app = echo_app();
    const TempDir dir;
    // As long as a worker may take, and longer.
    const auto stop = std::chrono::milliseconds{GENERATE(patient_ms + 50, 2 * patient_ms)};
    Server server{app, watched("echo", patient_ms), dir};
    const std::vector<pid_t> before = server.wait_workers(2);
    std::this_thread::sleep_for(more_than_enough);
    CHECK(server.workers() == before);
    // As by Ctrl-Z, or a frozen container.
    for (const pid_t pid : {server.master(), before[0], before[1]}) ::kill(pid, SIGSTOP);
    std::this_thread::sleep_for(stop);
    for (const pid_t pid : {server.master(), before[0], before[1]}) ::kill(pid, SIGCONT);
    Connection::to(server.at("echo")).echo("hello");
    std::this_thread::sleep_for(more_than_enough);
    CHECK(server.workers() == before);
    CHECK(server.log().find("no progress").empty());
}

TEST_CASE("a worker under a debugger is left alone") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, watched("echo", patient_ms), dir};
    const std::vector<pid_t> before = server.wait_workers(2);
    const pid_t debugged = before[0];
    if (::ptrace(PTRACE_SEIZE, debugged, nullptr, nullptr) != 0)
        SKIP("this process may not debug another");
    REQUIRE(::ptrace(PTRACE_INTERRUPT, debugged, nullptr, nullptr) == 0);
    int status = 0;
    REQUIRE(::waitpid(debugged, &status, __WALL) == debugged);
    std::this_thread::sleep_for(more_than_enough);
    CHECK(server.log().find("no progress").empty());
    CHECK(is_running(debugged));
    REQUIRE(::ptrace(PTRACE_DETACH, debugged, nullptr, nullptr) == 0);
    Connection::to(server.at("echo")).echo("hello");
}

TEST_CASE("without a watchdog a stopped worker is waited for") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = watched("echo");
    config.watchdog_ms = 0;
    Server server{app, config, dir};
    const std::vector<pid_t> before = server.wait_workers(2);
    ::kill(before[0], SIGSTOP);
    std::this_thread::sleep_for(more_than_enough);
    ::kill(before[0], SIGCONT);
    CHECK(server.workers() == before);
    CHECK(server.log().find("no progress").empty());
}

}  // namespace
}  // namespace e2e
