// A server of one process.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "kernel_sockets.h"
#include "load.h"
#include "log_file.h"
#include "owned_fd.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

const std::vector<std::string> single{"--single"};

TEST_CASE("a single process serves without a child, and drains on TERM") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.pid_file = dir.file("pid");
    config.listeners.push_back({"unix:" + dir.file("echo.sock")});
    Server server{app, config, dir, nullptr, single};
    CHECK(server.workers().empty());
    CHECK(read_file(dir.file("pid")) == std::to_string(server.master()) + "\n");
    Connection held = Connection::to(server.at("echo", "127.0.0.1"));
    held.echo("hello");
    Connection::to(server.at("echo", "unix:")).echo("hello");
    server.signal(SIGTERM);
    REQUIRE(eventually(soon(), [&] { return refuses(Endpoint::of_peer(held.fd())); }));
    held.echo("drains");
    held.shutdown_write();
    held.expect_end();
    CHECK(server.wait()->code() == 0);
    CHECK_FALSE(std::filesystem::exists(dir.file("pid")));
    CHECK_FALSE(std::filesystem::exists(dir.file("echo.sock")));
}

TEST_CASE("a single process ends at once on INT, and on a second TERM") {
    const std::string app = echo_app();
    const TempDir dir;
    for (const std::vector<int>& signals : {std::vector<int>{SIGINT}, {SIGTERM, SIGQUIT}}) {
        Config config;
        config.drain_timeout_ms = 60'000;
        Server server{app, config, dir, nullptr, single};
        Connection held = Connection::to(server.at("echo"));
        held.echo("hello");
        for (const int number : signals) {
            const std::size_t mark = server.log().mark();
            server.signal(number);
            server.log().wait_for("signal SIG", mark);
        }
        static_cast<void>(held.wait_gone());
        CHECK(server.wait()->code() == 0);
    }
}

TEST_CASE("a single process reloads under load, and no connection fails") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    Server server{app, config, dir, nullptr, single};
    const Endpoint kept = server.at("echo");
    const auto inode = listeners_at(kept);
    Load load{kept};
    REQUIRE(load.wait_for_more(50));
    config.listeners.push_back({"127.0.0.2:0"});
    server.write_config(config.text());
    for (int generation = 2; generation <= 6; ++generation) {
        CHECK(server.reload() == generation);
        CHECK(load.wait_for_more(30));
    }
    const Endpoint added = server.at("echo", "127.0.0.2");
    Connection::to(added).echo("hello");
    config.listeners.pop_back();
    server.write_config(config.text());
    CHECK(server.reload() == 7);
    CHECK(eventually(soon(), [&] { return refuses(added); }));
    CHECK(load.wait_for_more(30));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
    CHECK(listeners_at(kept) == inode);
    CHECK(server.workers().empty());
}

TEST_CASE("a single process lets connections finish before it serves anew") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, Config{}, dir, nullptr, single};
    const Endpoint echo = server.at("echo");
    Connection held = Connection::to(echo);
    held.echo("hello");
    const std::size_t mark = server.log().mark();
    server.signal(SIGHUP);
    server.log().wait_for("draining 1 connections", mark);
    Connection waiting = Connection::to(echo);  // in the kernel's queue
    waiting.send("for the next");
    held.echo("still served");
    CHECK(waiting.silent_for(milliseconds{100}));
    server.signal(SIGHUP);  // makes one more reload, after this one
    held.shutdown_write();
    held.expect_end();
    CHECK(waiting.receive(12) == "for the next");
    waiting.close();
    server.log().wait_for("reload: generation 2 serves", mark);
    server.log().wait_for("reload: generation 3 serves", mark);
    Connection::to(echo).echo("hello");
}

TEST_CASE("a single process keeps what it has when a reload is bad") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    Server server{app, config, dir, nullptr, single};
    Connection held = Connection::to(server.at("echo"));
    held.echo("hello");
    const auto fails = [&](const std::string& text, const char* reason) {
        server.write_config(text);
        const std::size_t mark = server.log().mark();
        static_cast<void>(server.reload_expecting_failure());
        server.log().wait_for(reason, mark);
        held.echo("undisturbed");
        Connection::to(server.at("echo")).echo("hello");
    };
    fails("[master]\nwokers = 2\n", "unknown key `wokers`");
    const OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
    Config bad = config;
    bad.listeners.push_back({Endpoint::of_socket(taken.get()).text()});
    fails(bad.text(), "Another program listens there");
    held.close();
    server.write_config(config.text());
    CHECK(server.reload() == 2);
}

TEST_CASE("a single process goes back when a reload's worker cannot serve") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    Server server{app, config, dir, nullptr, single};
    const Endpoint echo = server.at("echo");
    Config bad = config;
    bad.open_files = 6;  // too few for a worker
    server.write_config(bad.text());
    const std::size_t mark = server.log().mark();
    server.signal(SIGHUP);
    server.log().wait_for("reload failed: generation 2 cannot serve, so 1 goes on", mark);
    server.write_config(config.text());
    Connection::to(echo).echo("hello");
    CHECK(server.reload() > 2);
    Connection::to(echo).echo("hello");
}

TEST_CASE("a single process reopens its log, and that takes its standard error along") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.log_target = dir.file("log");
    Server server{app, config, dir, nullptr, single};
    std::filesystem::rename(dir.file("log"), dir.file("log.1"));
    server.signal(SIGUSR1);
    server.log().wait_for("logs reopened");
    for (const std::string& file : open_files(server.master()))
        CHECK(file.find("log.1") == std::string::npos);
    CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(server.master()) + "/fd/2") ==
          dir.file("log"));
}

TEST_CASE("a single process of 2,000 listeners gives them all to its worker") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.listeners.assign(1'999, {});
    config.listeners.push_back({"127.0.0.2:0"});
    Server server{app, config, dir, nullptr, single};
    Connection::to(server.at("echo", "127.0.0.1")).echo("hello");
    Connection::to(server.at("echo", "127.0.0.2")).echo("hello");
}

TEST_CASE("a single process that cannot start exits 1 and says why, also beside other options") {
    const std::string app = echo_app();
    const TempDir dir;
    const OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
    Config config;
    config.listeners = {{Endpoint::of_socket(taken.get()).text()}};
    write_file(dir.file("config.toml"), config.text());
    const Finished refused = run({app, "-c", dir.file("config.toml"), "--single"});
    CHECK(refused.code == 1);
    CHECK(refused.error.find("start failed: listener ") != std::string::npos);
    CHECK(run({app, "-t", "--single", "-c", dir.file("config.toml")}).code == 1);
}

}  // namespace
}  // namespace e2e
