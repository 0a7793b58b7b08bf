// What a client may do, counted in shared memory over all workers: whoever dies, whenever.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "owned_fd.h"
#include "processes.h"
#include "server.h"
#include "text.h"
#include "upgradable.h"

namespace e2e {
namespace {

std::string zone_of(std::string_view size, std::string_view more = "") {
    return "\n[[zone]]\nname = \"limits\"\nsize = \"" + std::string{size} + "\"\n" +
           std::string{more};
}

std::string limit(const std::string& keys) {
    return "\n[service.echo.limit]\nzone = \"limits\"\n" + keys;
}

Config limited(const std::string& keys, std::string_view size = "1MiB") {
    Config config;
    config.drain_timeout_ms = 60'000;
    config.more = zone_of(size) + limit(keys);
    return config;
}

/// Connects from another address of this machine: another client.
Connection from(const std::string& address, const Endpoint& server) {
    OwnedFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const Endpoint own = Endpoint::parse(address + ":0");
    REQUIRE(::bind(socket.get(), own.data(), own.size()) == 0);
    REQUIRE(::connect(socket.get(), server.data(), server.size()) == 0);
    return Connection{std::move(socket)};
}

/// Says whether a new connection is served.
std::optional<Connection> try_to_enter(const Endpoint& server) {
    Connection connection = Connection::to(server);
    try {
        connection.echo("may I");
    } catch (const NetError&) {
        return std::nullopt;
    }
    return connection;
}

/// Enters as often as it is served, up to `most` times.
std::vector<Connection> enter(const Endpoint& server, std::size_t most) {
    std::vector<Connection> held;
    while (held.size() < most)
        if (auto entered = try_to_enter(server))
            held.push_back(*std::move(entered));
        else
            break;
    return held;
}

/// Enters until so many are held in all, as connections that have ended are given back.
bool fills_up(std::vector<Connection>& held, const Endpoint& server, std::size_t to) {
    return eventually(soon(), [&] {
        for (Connection& one : enter(server, to - held.size())) held.push_back(std::move(one));
        return held.size() == to;
    });
}

/// Returns how many of the connections are still served; drops the others.
std::size_t still_served(std::vector<Connection>& held) {
    std::erase_if(held, [](Connection& one) {
        try {
            one.echo("still here");
            return false;
        } catch (const NetError&) {
            return true;
        }
    });
    return held.size();
}

/// Returns where a server's zone can be opened.
std::string zone_file(pid_t server, std::string_view zone) {
    for (const auto& entry :
         std::filesystem::directory_iterator{"/proc/" + std::to_string(server) + "/fd"}) {
        std::error_code gone;
        const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
        if (has(target, "memfd:") && has(target, zone)) return entry.path().string();
    }
    FAIL("the server has no zone " << zone);
    return {};
}

/// Writes over what a server's zone begins with, as a stray store of any process would: `write`
/// gets its first 64 KiB.
template <class Write>
void corrupt(pid_t server, std::string_view zone, Write write) {
    const OwnedFd memory{::open(zone_file(server, zone).c_str(), O_RDWR | O_CLOEXEC)};
    REQUIRE(memory);
    void* const at = ::mmap(nullptr, 65'536, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    REQUIRE(at != MAP_FAILED);
    write(std::span{static_cast<unsigned char*>(at), 65'536});
    ::munmap(at, 65'536);
}

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
    const Finished dry =
        run({app.original, "ctl", "reload", "--dry-run", "--socket", *app.config.control});
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

TEST_CASE("a zone that is corrupted is reported, done without, and made anew by a reload") {
    const TempDir dir;
    Config config = limited("connections = 4\n");
    config.control = dir.file("control.sock");
    Server server{echo_app(), config, dir};
    const Endpoint endpoint = server.at("echo");
    std::vector<Connection> held = enter(endpoint, 5);
    REQUIRE(held.size() == 4);
    const auto workers = server.wait_workers(2);
    // Behind the zone's header and the pool's: lock, journal, owners.
    corrupt(server.master(), "limits",
            [](std::span<unsigned char> bytes) { std::ranges::fill(bytes.subspan(512), 0xa5); });
    for (int i = 0; i < 20; ++i) Connection::to(endpoint).echo("without a limit");
    server.log().wait_for("zone limits: what is in it is corrupted");
    CHECK(server.workers() == workers);  // nobody has died of it
    const auto zones = [&] {
        return run({echo_app(), "ctl", "zones", "--socket", *config.control}).output;
    };
    CHECK(has(zones(), "corrupted: a reload makes it anew"));
    server.reload();
    CHECK(has(zones(), " pages free"));
    CHECK(eventually(soon(), [&] {
        return server.log().find(": draining ").size() + server.log().find("] draining ").size() >=
               2;
    }));
    std::vector<Connection> fresh = enter(endpoint, 6);
    CHECK(fresh.size() == 4);
    CHECK(still_served(held) == 4);
}

TEST_CASE("whatever bytes of a zone are corrupted, workers live, are respawned, and reloads work") {
    const TempDir dir;
    Config config = limited("connections = 100\nrate = 1_000\nburst = 1_000\n");
    config.respawn_backoff_min_ms = 10;
    Server server{echo_app(), config, dir};
    const Endpoint endpoint = server.at("echo");
    for (unsigned seed = 1; seed <= 12; ++seed) {
        INFO("seed " << seed);
        std::mt19937 random{seed};
        corrupt(server.master(), "limits", [&](std::span<unsigned char> bytes) {
            const std::size_t begin = random() % bytes.size();
            const std::size_t most = seed % 2 == 0 ? 64 : 40'000;
            const std::size_t size = std::min<std::size_t>(random() % most, bytes.size() - begin);
            for (unsigned char& byte : bytes.subspan(begin, size))
                byte = seed % 3 == 0 ? 0xff : static_cast<unsigned char>(random());
        });
        for (int i = 0; i < 5; ++i) (void)try_to_enter(endpoint);
        const auto workers = server.wait_workers(2);
        ::kill(workers.at(0), SIGKILL);
        CHECK(eventually(soon(), [&] { return !is_running(workers.at(0)); }));
        CHECK(server.wait_workers(2).size() == 2);
        server.reload();
        (void)server.wait_workers(2, later());
    }
    CHECK(server.log().find("killed by signal 11").empty());
    CHECK(server.log().find("killed by signal 6").empty());
}

TEST_CASE("what is in zones is shown: pages, blocks, lock, and workers") {
    const TempDir dir;
    Config config = limited("connections = 4\n");
    config.control = dir.file("control.sock");
    Server server{echo_app(), config, dir};
    const auto held = enter(server.at("echo"), 2);
    const Finished shown = run({echo_app(), "ctl", "zones", "--socket", *config.control});
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
