// Workers whose master was killed, and the master that takes them over.
#include <signal.h>
#include <sys/types.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
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
#include "endpoint.h"
#include "files.h"
#include "load.h"
#include "processes.h"
#include "server.h"
#include "text.h"

namespace e2e {
namespace {

Config found_at(const TempDir& dir, int grace_ms) {
    Config config;
    config.control = dir.file("control.sock");
    config.pid_file = dir.file("pid");
    config.orphan_grace_ms = grace_ms;
    return config;
}

/// A server of one worker that is to be orphaned, and the configuration of its successor.
struct One {
    std::string app = echo_app();
    TempDir dir;
    Config config = found_at(dir, 30'000);
    Server first{app, alone(config), dir};
    Endpoint endpoint = first.at("echo");

    One() { config.listeners[0].address = endpoint.text(); }
    static Config& alone(Config& config) {
        config.workers = 1;
        return config;
    }
};

TEST_CASE("a master that is started after one was killed takes its listeners and zones over") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = found_at(dir, 30'000);
    config.drain_timeout_ms = 60'000;
    const std::string path = dir.file("echo.sock");
    config.listeners = {{"127.0.0.1:0", "echo"}, {"unix:" + path, "echo"}};
    std::optional<Server> first{std::in_place, app, config, dir};
    const Endpoint endpoint = first->at("echo", "127.0.0.1");
    config.listeners[0].address = endpoint.text();
    Load load{endpoint};
    REQUIRE(load.wait_for_more(50));
    Connection held = Connection::to(endpoint);
    held.echo("with the first");
    const auto orphans = first->workers();
    first->kill_master();
    CHECK(load.wait_for_more(50));  // nobody is in charge, and nobody notices
    {
        const Server second{app, config, dir};
        CHECK(load.wait_for_more(50));
        Connection::to(Endpoint::parse("unix:" + path)).echo("the same path");
        held.echo("still with the first");
        std::string status;
        CHECK(eventually(soon(), [&] {
            status = ctl(app, *config.control, {"status"}).text();
            return has(status, "master " + std::to_string(second.master()));
        }));
        INFO(status);
        CHECK(has(status, "generation 2 serves"));
        held.echo("last words");
        held.close();
        // They all drain, long before their grace is over.
        CHECK(eventually(soon(), [&] { return std::ranges::none_of(orphans, is_running); }));
        load.stop();
        INFO(load.text());
        CHECK(load.failed() == 0);
    }
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK_FALSE(std::filesystem::exists(*config.control));
    CHECK(first->nothing_left());
}

TEST_CASE("a caller that says nothing to an orphan does not keep a new master waiting") {
    One one;
    auto& [app, dir, config, first, endpoint] = one;
    first.kill_master();
    std::vector<Connection> silent;
    for (int i = 0; i < 15; ++i)
        silent.push_back(Connection::to(Endpoint::parse("unix:" + *config.control)));
    const auto began = std::chrono::steady_clock::now();
    Server second{app, config, dir};
    // Each would have been waited for, for limits::control_timeout_ms.
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{4});
    CHECK(has(second.log().text(), "a master has died, its workers serve"));
    Connection::to(endpoint).echo("hello");
}

TEST_CASE("a master that waits for orphans which are stopped says so, and how long it will") {
    One one;
    auto& [app, dir, config, first, endpoint] = one;
    const pid_t orphan = first.worker(0);
    first.kill_master();
    ::kill(orphan, SIGSTOP);
    const std::string notice = "whoever is at " + *config.control +
                               " says nothing yet: it is "
                               "waited for, for another ";
    bool told = false;
    std::jthread watcher{[&] {
        told = eventually(later(), [&] {
            return std::ranges::any_of(
                std::filesystem::directory_iterator{dir.path()}, [&](const auto& entry) {
                    const std::string path = entry.path().string();
                    return path.ends_with(".err") && has(read_file(path), notice);
                });
        });
        ::kill(orphan, SIGCONT);
    }};
    {
        Server second{app, config, dir};
        CHECK(has(second.log().text(), "a master has died, its workers serve"));
        Connection::to(endpoint).echo("hello");
    }
    watcher.join();
    CHECK(told);
}

TEST_CASE("orphans that nobody takes over drain when their grace is over") {
    const std::string app = echo_app();
    const TempDir dir;
    const Config config = found_at(dir, 400);
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    server.kill_master();
    Connection::to(endpoint).echo("in the grace");
    const Finished status = ctl(app, *config.control, {"status"});
    CHECK(status.code == 1);
    CHECK(has(status.error, "the master has died"));
    CHECK(eventually(soon(), [&] { return server.nothing_left(); }));
    CHECK(refuses(endpoint));
}

TEST_CASE("orphans without a grace, or that are told to, drain at once") {
    const std::string app = echo_app();
    const TempDir dir;
    SECTION("none") {
        Server server{app, found_at(dir, 0), dir};
        server.kill_master();
        CHECK(eventually(soon(), [&] { return server.nothing_left(); }));
    }
    SECTION("told") {
        Server server{app, found_at(dir, 60'000), dir};
        const auto orphans = server.workers();
        server.kill_master();
        Connection::to(server.at("echo")).echo("in the grace");
        for (const pid_t pid : orphans) ::kill(pid, SIGTERM);
        CHECK(eventually(soon(), [&] { return server.nothing_left(); }));
    }
}

TEST_CASE("a start beside a living master does not disturb it, nor take anything over") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = found_at(dir, 5'000);
    Server server{app, config, dir};
    config.listeners[0].address = server.at("echo").text();
    server.write_config(config.text());
    const Finished second = run({app, "-c", server.config_path()});
    INFO(second.text());
    CHECK(second.code == 1);
    CHECK(has(second.text(), "already running"));
    Connection::to(server.at("echo")).echo("as before");
    CHECK(std::filesystem::exists(*config.control));
}

TEST_CASE("after a second death the rows of the first are taken again, and hold what was counted") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = found_at(dir, 30'000);
    std::vector<std::unique_ptr<Server>> servers;
    servers.push_back(std::make_unique<Server>(app, config, dir));
    const Endpoint endpoint = servers[0]->at("echo");
    config.listeners[0].address = endpoint.text();
    for (int i = 0; i < 20; ++i) Connection::to(endpoint).echo("count me");
    for (int death = 0; death < 2; ++death) {
        const auto orphans = servers.back()->workers();
        servers.back()->kill_master();
        servers.push_back(std::make_unique<Server>(app, config, dir));
        REQUIRE(eventually(soon(), [&] { return std::ranges::none_of(orphans, is_running); }));
    }
    const Finished status = ctl(app, *config.control, {"status"});
    INFO(status.text());
    CHECK(accepted(status.output) >= 20);
    while (!servers.empty()) servers.pop_back();  // the last one first
}

}  // namespace
}  // namespace e2e
