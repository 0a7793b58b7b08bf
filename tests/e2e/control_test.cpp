// Orders at the control socket: what is asked for happens, and the answer is the truth.
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "load.h"
#include "owned_fd.h"
#include "processes.h"
#include "server.h"
#include "text.h"

namespace e2e {
namespace {

Config controlled(const TempDir& dir) {
    Config config;
    config.control = dir.file("control.sock");
    return config;
}

Finished ctl(const std::string& app, const TempDir& dir, const std::string& order) {
    return e2e::ctl(app, dir.file("control.sock"), {order});
}

TEST_CASE("status names generations and workers, with their processes and connections") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, controlled(dir), dir};
    const auto workers = server.wait_workers(2);
    Connection connection = Connection::to(server.at("echo"));
    connection.echo("hello");
    const Finished status = ctl(app, dir, "status");
    INFO(status.text());
    CHECK(status.code == 0);
    CHECK(has(status.output, "echo: master " + std::to_string(server.master()) + ", up "));
    CHECK(has(status.output, "generation 1 serves"));
    for (const pid_t pid : workers)
        CHECK(has(status.output, "process " + std::to_string(pid) + ", "));
    CHECK(has(status.output, "1 connections, 1 accepted, 0 failed"));
    struct stat file{};
    REQUIRE(::stat(dir.file("control.sock").c_str(), &file) == 0);
    CHECK((file.st_mode & 0777) == 0600);
}

TEST_CASE("ctl reload waits for the new generation and names it") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, controlled(dir), dir};
    const auto before = server.wait_workers(2);
    Load load{server.at("echo")};
    for (int generation = 2; generation < 8; ++generation) {
        const Finished reload = ctl(app, dir, "reload");
        INFO(reload.text());
        CHECK(reload.code == 0);
        CHECK(reload.output == "generation " + std::to_string(generation) + " serves, 2 workers\n");
        CHECK(has(ctl(app, dir, "status").output,
                  "generation " + std::to_string(generation) + " serves"));
    }
    load.stop();
    CHECK(load.failed() == 0);
}

TEST_CASE("ctl reload brings every error of the configuration") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, controlled(dir), dir};
    server.write_config(
        "[master]\nwokers = 2\n[[listener]]\naddress = \"nowhere\"\nservice = \"echo\"\n");
    const Finished reload = ctl(app, dir, "reload");
    INFO(reload.text());
    CHECK(reload.code == 1);
    CHECK(reload.output.empty());
    CHECK(has(reload.error, ":2:1: error: unknown key `wokers`"));
    CHECK(has(reload.error, ":4:11: error: `address` is not an address"));
    CHECK(has(ctl(app, dir, "status").output, "generation 1 serves"));
    Connection::to(server.at("echo")).echo("hello");
}

TEST_CASE("ctl reload --dry-run says what would change, and changes nothing") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = controlled(dir);
    config.listeners.push_back({"unix:" + dir.file("old.sock"), "echo"});
    Server server{app, config, dir};
    const auto workers = server.wait_workers(2);
    config.workers = 3;
    config.echo_idle_timeout_ms = 5'000;
    config.listeners.back().address = "unix:" + dir.file("new.sock");
    server.write_config(config.text());
    const auto dry_run = [&] {
        return e2e::ctl(app, dir.file("control.sock"), {"reload", "--dry-run"});
    };
    const Finished rehearsed = dry_run();
    INFO(rehearsed.text());
    CHECK(rehearsed.code == 0);
    CHECK(has(rehearsed.output, "master.workers: 2 -> 3\n"));
    CHECK(has(rehearsed.output, "service.echo.idle_timeout_ms: 60_000 -> 5_000\n"));
    CHECK(has(rehearsed.output,
              "listener " + server.at("echo", "127.0.0.1").text() + " (echo): kept\n"));
    CHECK(has(rehearsed.output, "new.sock (echo): opened\n"));
    CHECK(has(rehearsed.output, "old.sock (echo): closed\n"));
    CHECK(has(rehearsed.output, "zone ringfort.workers: kept\n"));
    CHECK(server.workers() == workers);
    Connection::to(Endpoint::parse("unix:" + dir.file("old.sock"))).echo("hello");
    CHECK_FALSE(std::filesystem::exists(dir.file("new.sock")));
    server.write_config("[[listener]]\naddress = 1\nservice = \"echo\"\n");
    CHECK(dry_run().code == 1);
    CHECK(has(ctl(app, dir, "status").output, "generation 1 serves"));
    server.write_config(config.text());
    CHECK(ctl(app, dir, "reload").output == "generation 2 serves, 3 workers\n");
    CHECK_FALSE(has(dry_run().output, "->"));
}

TEST_CASE("a pid file that a dry run is asked about stays as it is") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = controlled(dir);
    Server server{app, config, dir};
    config.pid_file = dir.file("other.pid");
    server.write_config(config.text());
    const auto dry_run = [&] {
        return e2e::ctl(app, dir.file("control.sock"), {"reload", "--dry-run"});
    };
    CHECK(dry_run().code == 0);
    CHECK_FALSE(std::filesystem::exists(*config.pid_file));
    write_file(*config.pid_file, "1\n");  // stale: nobody holds it
    CHECK(dry_run().code == 0);
    CHECK(read_file(*config.pid_file) == "1\n");
    write_file(*config.pid_file, "precious\n");
    const Finished refused = dry_run();
    CHECK(refused.code == 1);
    CHECK(has(refused.error, "there is a file whose text is no process id"));
    CHECK(ctl(app, dir, "reload").code == 1);
    CHECK(read_file(*config.pid_file) == "precious\n");
}

TEST_CASE("ctl reload brings the obstacles of a build, and what a new worker dies of") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = controlled(dir);
    Server server{app, config, dir};
    const OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
    config.listeners.push_back({Endpoint::of_socket(taken.get()).text(), "echo"});
    server.write_config(config.text());
    Finished reload = ctl(app, dir, "reload");
    INFO(reload.text());
    CHECK(reload.code == 1);
    CHECK(has(reload.error, "Another program listens there"));
    config.listeners.pop_back();
    config.open_files = 7;  // enough to begin with, too few for its listener
    server.write_config(config.text());
    reload = ctl(app, dir, "reload");
    CHECK(reload.code == 1);
    INFO(reload.text());
    CHECK(has(reload.error, "worker slot "));
    CHECK(has(reload.error, "Too many open files"));
    CHECK(has(reload.error, "a worker ended before it was ready"));
    CHECK(server.wait_workers(2).size() == 2);
}

TEST_CASE("reloads asked for at once are all answered, by fewer reloads") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, controlled(dir), dir};
    static_cast<void>(server.wait_workers(2));
    server.signal(SIGSTOP);
    constexpr int askers = 12;  // and what they leave of the limit for others
    std::vector<std::future<Finished>> reloads;
    for (int i = 0; i < askers; ++i)
        reloads.push_back(std::async(std::launch::async, [&] { return ctl(app, dir, "reload"); }));
    std::this_thread::sleep_for(std::chrono::milliseconds{1'500});  // until all have asked
    server.signal(SIGCONT);
    int highest = 0;
    for (auto& one : reloads) {
        const Finished reload = one.get();
        INFO(reload.text());
        REQUIRE(reload.code == 0);
        REQUIRE(has(reload.output, "generation "));
        highest = std::max(highest, std::stoi(reload.output.substr(11)));
    }
    CHECK(highest >= 2);
    CHECK(highest <= 3);
}

TEST_CASE("ctl quit returns when the server has ended, and ctl stop does not wait for clients") {
    const std::string app = echo_app();
    const TempDir dir;
    for (const char* order : {"quit", "stop"}) {
        Config config = controlled(dir);
        config.drain_timeout_ms = 60'000;
        Server server{app, config, dir};
        Connection connection = Connection::to(server.at("echo"));
        connection.echo("hello");
        auto asked = std::async(std::launch::async, [&] { return ctl(app, dir, order); });
        if (std::string_view{order} == "quit") {
            CHECK(asked.wait_for(std::chrono::milliseconds{300}) == std::future_status::timeout);
            CHECK(has(ctl(app, dir, "status").output, "draining for"));
            const Finished reload = ctl(app, dir, "reload");
            CHECK(reload.code == 1);
            CHECK(reload.error == "the master is stopping\n");
            connection.echo("last words");
            connection.shutdown_write();
            connection.expect_end();
        }
        CHECK(asked.get().code == 0);
        const auto status = server.wait();
        REQUIRE(status);
        CHECK(status->code() == 0);
        CHECK(ctl(app, dir, "status").code == 1);
    }
}

TEST_CASE("ctl finds the socket by the configuration, and says what keeps it from that") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, controlled(dir), dir};
    const std::string config = server.config_path();
    CHECK(run({app, "-c", config, "ctl", "status"}).code == 0);
    CHECK(run({app, "ctl", "status", "-c", config}).code == 0);
    const Finished unknown = run({app, "-c", config, "ctl", "sing\x1b[1m"});
    CHECK(unknown.code == 1);
    CHECK(unknown.error ==
          "no order is called \"sing?[1m\"; there are status, ready, zones, reload, reload "
          "--dry-run, "
          "upgrade, reopen, log-level LEVEL, quit, stop\n");
    server.write_config("nonsense = ");
    const Finished broken = run({app, "-c", config, "ctl", "status"});
    CHECK(broken.code == 1);
    CHECK(has(broken.error, "with --socket FILE, ctl does without a configuration"));
    CHECK(ctl(app, dir, "status").code == 0);
    Config without;
    server.write_config(without.text());
    CHECK(has(run({app, "-c", config, "ctl", "status"}).error, "sets no master.control"));
    CHECK(run({app, "ctl"}).code == 1);
    CHECK(run({app, "-t", "ctl", "status"}).code == 1);
    // A reload takes the socket away, and answers at it still.
    CHECK(ctl(app, dir, "reload").code == 0);
    const Finished gone = ctl(app, dir, "status");
    CHECK(gone.code == 1);
    CHECK(has(gone.error, "no answer from a master at"));
}

TEST_CASE("a crashed master's control socket is replaced, a living one's is respected") {
    const std::string app = echo_app();
    const TempDir dir;
    {
        Server crashed{app, controlled(dir), dir};
        crashed.kill_all();
    }
    Server server{app, controlled(dir), dir};
    CHECK(ctl(app, dir, "status").code == 0);
    const TempDir other;
    Config config = controlled(dir);
    write_file(other.file("second.toml"), config.text());
    const Finished second = run({app, "-c", other.file("second.toml")});
    CHECK(second.code == 1);
    CHECK(has(second.error, "control socket " + *config.control));
    CHECK(ctl(app, dir, "status").code == 0);
}

TEST_CASE("clients that hold the control socket do not keep the master from anything") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, controlled(dir), dir};
    const auto workers = server.wait_workers(2);
    std::vector<Connection> idle;
    for (int i = 0; i < 24; ++i)
        idle.push_back(Connection::to(Endpoint::parse("unix:" + dir.file("control.sock"))));
    for (std::size_t i = 0; i < idle.size(); i += 2) idle[i].send(std::string(200, '\xff'));
    Connection::to(server.at("echo")).echo("hello");
    ::kill(workers[0], SIGKILL);
    CHECK(eventually(soon(), [&] {
        const auto now = server.workers();
        return now.size() == 2 && std::ranges::count(now, workers[0]) == 0;
    }));
    static_cast<void>(server.reload());
    idle.clear();
    CHECK(ctl(app, dir, "status").code == 0);
}

TEST_CASE("ctl status and ctl ready give up on a master that does not answer") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, controlled(dir), dir};
    server.signal(SIGSTOP);
    for (const char* order : {"status", "ready"}) {
        const Finished given_up = ctl(app, dir, order);
        CHECK(given_up.code == 1);
        CHECK(has(given_up.error, "receive the answer: Connection timed out"));
    }
    server.signal(SIGCONT);
    CHECK(ctl(app, dir, "status").code == 0);
}

TEST_CASE("status shows a worker that is not started at once again, and why") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = controlled(dir);
    config.respawn_backoff_min_ms = 1'000;
    Server server{app, config, dir};
    const auto workers = server.wait_workers(2);
    ::kill(workers[0], SIGKILL);
    CHECK(eventually(soon(), [&] {
        const std::string status = ctl(app, dir, "status").output;
        return has(status, "backing off for") && has(status, "spawned again in") &&
               has(status, "failures in a row: 1");
    }));
    CHECK(server.wait_workers(2).size() == 2);
}

}  // namespace
}  // namespace e2e
