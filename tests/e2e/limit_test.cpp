// What a client may do, counted in shared memory over all workers: whoever dies, whenever.
#include <signal.h>
#include <sys/types.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "limited_echo.h"
#include "processes.h"
#include "server.h"
#include "text.h"
#include "upgradable.h"

namespace e2e {
namespace {

TEST_CASE("a client has so many connections over all workers, and no more") {
    const TempDir dir;
    Server server{echo_app(), limited("connections = 4\n"), dir};
    const Endpoint endpoint = server.at("echo");
    std::vector<Connection> held = enter(endpoint, 6);
    CHECK(held.size() == 4);
    from("127.0.0.2", endpoint).echo("another client");
    held.pop_back();
    CHECK(fills_up(held, endpoint, 4));
    CHECK_FALSE(try_to_enter(endpoint));
}

TEST_CASE("what a killed worker held is given back, and what the others hold stays counted") {
    const TempDir dir;
    Server server{echo_app(), limited("connections = 40\n"), dir};
    const Endpoint endpoint = server.at("echo");
    std::vector<Connection> held = enter(endpoint, 50);
    REQUIRE(held.size() == 40);
    for (int round = 0; round < 3; ++round) {
        const auto workers = server.wait_workers(2);
        ::kill(workers.at(0), SIGKILL);
        CHECK(eventually(soon(), [&] { return !is_running(workers.at(0)); }));
        const std::size_t left = still_served(held);
        INFO("round " << round << ", left " << left);
        CHECK(fills_up(held, endpoint, 40));
        CHECK_FALSE(try_to_enter(endpoint));
    }
}

TEST_CASE("a worker that is killed in the middle of many changes leaves the counts right") {
    const TempDir dir;
    Server server{echo_app(), limited("connections = 10\n"), dir};
    const Endpoint endpoint = server.at("echo");
    for (int round = 0; round < 10; ++round) {
        const auto workers = server.wait_workers(2);
        const Stopwatch time;
        std::size_t index = 0;
        while (time.elapsed() < milliseconds{60}) {
            try {
                Connection::to(endpoint).echo("in and out");
            } catch (const NetError&) {
                // Of the one that was killed.
            }
            if (time.elapsed() > milliseconds{20} && index < 1)
                ::kill(workers.at(index++), SIGKILL);
        }
    }
    std::vector<Connection> held;
    CHECK(fills_up(held, endpoint, 10));
    CHECK_FALSE(try_to_enter(endpoint));
}

TEST_CASE("reloads and upgrades go on with what is counted, those that make the zone larger too") {
    Upgradable app{echo_app()};
    app.config.drain_timeout_ms = 60'000;
    app.config.more = zone_of("1MiB") + limit("connections = 4\n");
    app.start();
    const Endpoint endpoint = app.server->at("echo");
    std::vector<Connection> held = enter(endpoint, 3);
    REQUIRE(held.size() == 3);
    const auto is_counted = [&] {
        std::vector<Connection> more = enter(endpoint, 3);
        CHECK(more.size() == 1);
        CHECK(still_served(held) == 3);
    };
    CHECK(app.ctl("reload").code == 0);
    is_counted();
    app.config.more = zone_of("2MiB") + limit("connections = 4\n");
    app.server->write_config(app.config.text());
    const Finished dry = ctl(app.original, *app.config.control, {"reload", "--dry-run"});
    CHECK(has(dry.output, "zone limits: grown, 1MiB -> 2MiB"));
    CHECK(app.ctl("reload").code == 0);
    CHECK(has(app.ctl("zones").output, "zone limits (client limits/1): 2MiB"));
    CHECK(eventually(soon(), [&] {  // the one that was closed may still be counted
        std::vector<Connection> more = enter(endpoint, 3);
        return more.size() == 1;
    }));
    app.upgrade();
    CHECK(eventually(soon(), [&] {
        std::vector<Connection> more = enter(endpoint, 3);
        return more.size() == 1;
    }));
    CHECK(still_served(held) == 3);
    held.clear();
    CHECK(fills_up(held, endpoint, 4));
    CHECK_FALSE(try_to_enter(endpoint));
}

TEST_CASE("a rate holds over workers, their deaths and reloads") {
    const TempDir dir;
    Server server{echo_app(), limited("rate = 1\nper_ms = 600_000\nburst = 6\n"), dir};
    const Endpoint endpoint = server.at("echo");
    CHECK(enter(endpoint, 4).size() == 4);
    for (const pid_t worker : server.wait_workers(2)) {
        ::kill(worker, SIGKILL);
        CHECK(eventually(soon(), [&] { return !is_running(worker); }));
    }
    (void)server.wait_workers(2);
    server.reload();
    CHECK(enter(endpoint, 4).size() == 2);
    from("127.0.0.2", endpoint).echo("another client");
}

TEST_CASE("a rate lets a client in again when its time has come") {
    const TempDir dir;
    Server server{echo_app(), limited("rate = 1\nper_ms = 300\nburst = 2\n"), dir};
    const Endpoint endpoint = server.at("echo");
    CHECK(enter(endpoint, 2).size() == 2);
    CHECK(eventually(soon(), [&] { return try_to_enter(endpoint).has_value(); }));
}

TEST_CASE("a master that takes over from a dead one goes on counting, and buries its workers") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = limited("connections = 8\n");
    config.control = dir.file("control.sock");
    config.orphan_grace_ms = 30'000;
    std::optional<Server> first{std::in_place, app, config, dir};
    const Endpoint endpoint = first->at("echo");
    config.listeners[0].address = endpoint.text();
    std::vector<Connection> held = enter(endpoint, 6);
    REQUIRE(held.size() == 6);
    const auto orphans = first->workers();
    first->kill_master();
    {
        Server second{app, config, dir};
        CHECK(enter(endpoint, 4).size() == 2);
        CHECK(still_served(held) == 6);
        for (const pid_t orphan : orphans) ::kill(orphan, SIGKILL);
        CHECK(eventually(soon(), [&] { return std::ranges::none_of(orphans, is_running); }));
        CHECK(still_served(held) == 0);
        CHECK(fills_up(held, endpoint, 8));
        CHECK_FALSE(try_to_enter(endpoint));
        held.clear();
    }
    CHECK(first->nothing_left());
}

TEST_CASE("with noreuse a reload forgets what was counted") {
    const TempDir dir;
    Config config;
    config.more =
        zone_of("1MiB", "noreuse = true\n") + limit("rate = 1\nper_ms = 600_000\nburst = 3\n");
    Server server{echo_app(), config, dir};
    const Endpoint endpoint = server.at("echo");
    CHECK(enter(endpoint, 5).size() == 3);
    server.reload();
    (void)server.wait_workers(2);  // those before may accept for a moment
    CHECK(enter(endpoint, 5).size() == 3);
}

TEST_CASE("what is in zones is shown: pages, blocks, lock, and workers") {
    const TempDir dir;
    Config config = limited("connections = 4\n");
    config.control = dir.file("control.sock");
    Server server{echo_app(), config, dir};
    const auto held = enter(server.at("echo"), 2);
    const Finished shown = ctl(echo_app(), *config.control, {"zones"});
    INFO(shown.text());
    CHECK(shown.code == 0);
    CHECK(has(shown.output, "zone limits (client limits/1): 1MiB, "));
    CHECK(has(shown.output, " pages free, fragmentation "));
    CHECK(has(shown.output, "  blocks of "));
    CHECK(has(shown.output, "; 2 workers\n"));
    CHECK(has(shown.output, "zone ringfort.workers (counters/"));
    // Without the master's help, while it runs and later.
    const std::string saved = dir.file("saved");
    std::filesystem::copy_file(zone_file(server.master(), "limits"), saved);
    for (const std::string& file : {zone_file(server.master(), "limits"), saved}) {
        const Finished offline = run({echo_app(), "ctl", "zones", "--file", file});
        INFO(offline.text());
        CHECK(offline.code == 0);
        CHECK(has(offline.output, "zone limits (client limits/1): 1MiB, "));
        CHECK(has(offline.output, "; 2 workers\n"));
    }
    const Finished none = run({echo_app(), "ctl", "zones", "--file", dir.file("none")});
    CHECK(none.code == 1);
    CHECK(has(none.error, "no zone is in " + dir.file("none") + ": open: No such file"));
    CHECK(run({echo_app(), "ctl", "status", "--file", saved}).code == 1);
}

TEST_CASE("limits without their zone are refused, with what to do") {
    const TempDir dir;
    Config config;
    const auto tested = [&] {
        write_file(dir.file("conf"), config.text());
        return run({echo_app(), "-t", "-c", dir.file("conf")});
    };
    config.more = limit("connections = 4\n");
    Finished answer = tested();
    CHECK(answer.code == 1);
    CHECK(has(answer.error,
              "zone limits: client limits/1 needs it, but there is none of that "
              "name. Add a [[zone]]."));
    config.more = "\n[service.echo.limit]\nrate = 4\n";
    answer = tested();
    CHECK(answer.code == 1);
    CHECK(has(answer.error, "there is no `zone` to count in"));
}

TEST_CASE("a zone that is too small for the clients keeps a server from starting, and says so") {
    const TempDir dir;
    write_file(dir.file("conf"), limited("connections = 4\n", "64KiB").text());
    const Finished answer = run({echo_app(), "-c", dir.file("conf")}, "", later());
    INFO(answer.text());
    CHECK(answer.code == 1);
    CHECK(has(answer.error, "zone limits has no room to count 10000 clients: make it larger"));
}

TEST_CASE("one process alone counts as well, and forgets what a worker before held") {
    const TempDir dir;
    Server server{echo_app(), limited("connections = 4\n"), dir, nullptr, {"--single"}};
    const Endpoint endpoint = server.at("echo");
    std::vector<Connection> held = enter(endpoint, 6);
    CHECK(held.size() == 4);
    held.clear();
    CHECK(fills_up(held, endpoint, 4));
}

}  // namespace
}  // namespace e2e
