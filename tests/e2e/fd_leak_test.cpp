#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "load.h"
#include "processes.h"
#include "server.h"
#include "swarm.h"

namespace e2e {
namespace {

Config proxied_echo(const TempDir& dir) {
    Config config;
    const std::string echo = "unix:" + dir.file("echo.sock");
    config.listeners = {
        {"127.0.0.1:0", "proxy"}, {echo, "echo"}, {"127.0.0.1:0", "echo", false, true}};
    config.upstreams = {echo};
    return config;
}

std::string listed(pid_t pid) {
    std::string result;
    for (const std::string& target : open_files(pid)) result += target + "\n";
    return result;
}

/// Waits until the process has at most this many descriptors.
void expect_at_most(std::size_t limit, pid_t pid) {
    const bool reached = eventually(soon(), [&] { return open_files(pid).size() <= limit; });
    INFO("limit " << limit << ", open:\n" << listed(pid));
    CHECK(reached);
}

TEST_CASE("after thousands of connections a worker has the descriptors it began with") {
    const std::string app = proxy_app();
    const TempDir dir;
    Server server{app, proxied_echo(dir), dir};
    const std::vector<pid_t> workers = server.wait_workers(2);
    const auto serve = [&](std::size_t connections) {
        const SwarmReport report =
            run_swarm(server.at("proxy"), {.connections = connections, .bytes_each = 5'000});
        INFO(report.text());
        REQUIRE(report.completed == connections);
    };
    const std::vector<std::size_t> baseline = settled_files(workers);
    for (int i = 0; i < 4; ++i) serve(500);
    for (std::size_t i = 0; i < workers.size(); ++i) expect_at_most(baseline[i], workers[i]);
}

TEST_CASE("after many reloads master and workers have the descriptors they began with") {
    const std::string app = proxy_app();
    const TempDir dir;
    Server server{app, proxied_echo(dir), dir};
    static_cast<void>(server.reload());
    const std::size_t worker_baseline = std::ranges::max(settled_files(server.wait_workers(2)));
    const std::size_t master_baseline = open_files(server.master()).size();
    {
        Load load{server.at("proxy"), 2};
        for (int i = 0; i < 10; ++i) {
            static_cast<void>(server.reload());
            static_cast<void>(server.wait_workers(2));
        }
        load.stop();
        INFO(load.text());
        CHECK(load.failed() == 0);
    }
    expect_at_most(master_baseline, server.master());
    for (const pid_t pid : server.wait_workers(2)) expect_at_most(worker_baseline, pid);
}

TEST_CASE("failed reloads and respawned workers leave the master's descriptors as they were") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.respawn_backoff_min_ms = 10;
    Server server{app, config, dir};
    const std::vector<pid_t> workers = server.wait_workers(2);
    const std::size_t baseline = open_files(server.master()).size();
    const OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
    Config bad = config;
    bad.listeners = {{"127.0.0.2:0"}, {Endpoint::of_socket(taken.get()).text()}};
    for (int i = 0; i < 5; ++i) {
        server.write_config(bad.text());
        static_cast<void>(server.reload_expecting_failure());
    }
    for (int i = 0; i < 3; ++i) {
        const pid_t victim = server.wait_workers(2).front();
        REQUIRE(::kill(victim, SIGKILL) == 0);
        REQUIRE(eventually(soon(), [&] {
            const auto now = server.workers();
            return now.size() == 2 && std::find(now.begin(), now.end(), victim) == now.end();
        }));
    }
    expect_at_most(baseline, server.master());
}

}  // namespace
}  // namespace e2e
