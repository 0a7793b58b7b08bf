// The upgrade to another binary: it takes over without a pause, or everything stays as it was.
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <string_view>
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
#include "upgradable.h"

namespace e2e {
namespace {

TEST_CASE("upgrades under load lose nothing, and the masters before go with their connections") {
    Upgradable app{echo_app()};
    app.config.drain_timeout_ms = 60'000;
    app.start();
    Load load{app.server->at("echo")};
    REQUIRE(load.wait_for_more(50));
    Connection held = Connection::to(app.server->at("echo"));
    held.echo("with the first");
    const auto first_workers = app.server->workers();
    app.upgrade();
    CHECK(app.masters[0] != app.server->master());
    CHECK(load.wait_for_more(50));
    held.echo("still with the first");
    CHECK(is_running(app.server->master()));
    app.upgrade();
    CHECK(app.masters[1] != app.masters[0]);
    CHECK(load.wait_for_more(50));
    held.echo("last words");
    held.close();
    const auto ended = app.server->wait(later());
    REQUIRE(ended);
    CHECK(ended->code() == 0);
    CHECK(eventually(soon(), [&] { return !is_running(app.masters[0]); }));
    CHECK(children_of(app.masters[1]).size() == 2);
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("what a zone holds is still there after an upgrade, and the generations go on") {
    Upgradable app{echo_app()};
    app.start();
    for (int i = 0; i < 20; ++i) Connection::to(app.server->at("echo")).echo("count me");
    CHECK(eventually(soon(), [&] { return accepted(app.ctl("status").output) == 20; }));
    app.upgrade();
    REQUIRE(app.server->wait(later()));
    const Finished second = app.ctl("status");
    INFO(second.text());
    CHECK(has(second.output, "master " + std::to_string(app.masters[0])));
    CHECK(has(second.output, "generation 2 serves"));
    CHECK(accepted(second.output) == 0);  // its workers have rows of their own
    const Finished reloaded = app.ctl("reload");
    INFO(reloaded.text());
    CHECK(has(reloaded.output, "generation 3 serves"));
    app.upgrade();  // whose workers have the rows that those of the first had
    CHECK(eventually(soon(), [&] { return !is_running(app.masters[0]); }));
    CHECK(accepted(app.ctl("status").output) == 20);
    CHECK(has(app.ctl("status").output, "generation 4 serves"));
}

TEST_CASE("the files of unix sockets stay through an upgrade, but for those no longer wanted") {
    Upgradable app{echo_app()};
    const std::string kept = app.dir.file("kept.sock");
    const std::string dropped = app.dir.file("dropped.sock");
    app.config.listeners = {{"unix:" + kept, "echo"}, {"unix:" + dropped, "echo"}};
    app.start();
    app.config.listeners.pop_back();
    app.server->write_config(app.config.text());
    app.upgrade();
    REQUIRE(app.server->wait(later()));
    CHECK(std::filesystem::exists(kept));
    CHECK_FALSE(std::filesystem::exists(dropped));
    Connection::to(Endpoint::parse("unix:" + kept)).echo("here");
}

TEST_CASE("a pid file and a control socket that move in an upgrade leave nothing behind") {
    Upgradable app{echo_app()};
    app.start();
    const std::string old_pid_file = *app.config.pid_file;
    const std::string old_control = *app.config.control;
    app.config.pid_file = app.dir.file("moved.pid");
    app.config.control = app.dir.file("moved.sock");
    app.server->write_config(app.config.text());
    CHECK(ctl(app.original, old_control, {"upgrade"}, later()).code == 0);
    app.masters.push_back(app.holder());
    REQUIRE(app.server->wait(later()));
    CHECK(is_running(app.masters[0]));
    CHECK_FALSE(std::filesystem::exists(old_pid_file));
    CHECK_FALSE(std::filesystem::exists(old_control));
    CHECK(has(app.ctl("status").output, "generation 2 serves"));
}

TEST_CASE("the signal USR2 upgrades, too") {
    Upgradable app{echo_app()};
    app.start();
    const std::string before = read_file(*app.config.pid_file);
    app.server->signal(SIGUSR2);
    REQUIRE(eventually(later(), [&] { return read_file(*app.config.pid_file) != before; }));
    app.masters.push_back(app.holder());
    REQUIRE(app.server->wait(later()));
    Connection::to(app.server->at("echo")).echo("here");
}

TEST_CASE("a new binary that does not take over changes nothing, and whoever asked learns why") {
    Upgradable app{echo_app()};
    app.config.upgrade_timeout_ms = 300;
    app.config.kill_timeout_ms = 200;
    std::string why;
    SECTION("it exits") {
        app.install_script("exit 3");
        why = "exited with code 3";
    }
    SECTION("it cannot be run") {
        write_file(app.app + ".next", "neither a program nor a script");
        why = "execve";
    }
    SECTION("it hangs") {
        app.install_script("exec sleep 100");
        why = "did not serve within master.upgrade_timeout_ms";
    }
    SECTION("it hangs and does not hear") {
        app.install_script("trap '' TERM; while :; do sleep 0.1; done");
        why = "did not serve within master.upgrade_timeout_ms";
    }
    SECTION("it is stopped") {
        app.install_script("kill -STOP $$");
        why = "did not serve within master.upgrade_timeout_ms";
    }
    SECTION("it is killed") {
        app.install_script("kill -KILL $$");
        why = "killed by signal 9";
    }
    SECTION("it speaks another language") {
        // Not every sh takes a number of two digits there.
        app.install_script("exec bash -c \"echo garbage >&$RINGFORT_PREDECESSOR; exec sleep 100\"");
        why = "speaks another language";
    }
    // The script is in place before the start: what runs is the original, under the same name.
    const std::string script = app.app + ".script";
    const bool unusable = std::filesystem::exists(app.app + ".next");
    std::filesystem::rename(unusable ? app.app + ".next" : app.app, script);
    if (!unusable) app.install();
    app.start();
    Load load{app.server->at("echo"), 2};
    REQUIRE(load.wait_for_more(20));
    std::filesystem::rename(script, app.app);
    const Finished answer = app.ctl("upgrade");
    INFO(answer.text());
    CHECK(answer.code == 1);
    CHECK(has(answer.error, why));
    CHECK(load.wait_for_more(20));
    app.serves_as_before();
    app.install();
    app.server->write_config([&] {
        app.config.upgrade_timeout_ms = 20'000;
        return app.config.text();
    }());
    static_cast<void>(app.server->reload());
    app.upgrade();  // nothing of the failure is left
    CHECK(load.wait_for_more(20));
    REQUIRE(app.server->wait(later()));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("an upgrade brings every error of the configuration, as the new binary sees it") {
    Upgradable app{echo_app()};
    app.start();
    const std::string good = app.config.text();
    app.server->write_config("[master]\nworkers = 0\nworkerz = 1\n" + good.substr(9));
    const Finished answer = app.ctl("upgrade");
    INFO(answer.text());
    CHECK(answer.code == 1);
    CHECK(has(answer.error, "workerz"));
    CHECK(has(answer.error, "exited with code 1"));
    app.serves_as_before();
}

TEST_CASE("a master that is killed while its successor begins is succeeded all the same") {
    Upgradable app{echo_app()};
    const std::string real = app.dir.file("real");
    std::filesystem::copy_file(app.original, real);
    app.start();
    app.install_script("sleep 0.3; exec " + real + " \"$@\"");
    const Endpoint endpoint = app.server->at("echo");
    const std::string before = read_file(*app.config.pid_file);
    app.server->signal(SIGUSR2);
    static_cast<void>(app.server->log().wait_for("upgrade: the new master is process"));
    app.server->kill_master();
    REQUIRE(eventually(later(), [&] { return read_file(*app.config.pid_file) != before; }));
    static_cast<void>(app.server->log().wait_for("ready: generation 2", 0, later()));
    app.masters.push_back(app.holder());
    CHECK(is_running(app.masters[0]));
    Connection::to(endpoint).echo("served by the successor");
}

/// Has the server start a successor and stops the first worker of that which is seen. Returns the
/// successor's pid, and whether that worker had not been ready.
pid_t upgrade_and_stop_a_worker(Upgradable& app, pid_t master, std::future<Finished>& answer) {
    answer = std::async(std::launch::async, [&] { return app.ctl("upgrade"); });
    pid_t successor = 0;
    while (true) {
        for (const pid_t child : children_of(master)) {
            if (has(title_of(child), ": worker ")) continue;
            for (const pid_t worker : children_of(child)) {
                if (!has(title_of(worker), ": worker ")) continue;
                ::kill(worker, SIGSTOP);
                return child;
            }
            successor = child;
        }
        if (answer.wait_for(std::chrono::seconds{0}) == std::future_status::ready) return successor;
    }
}

TEST_CASE("a successor that gives up finishes what its workers have accepted") {
    Upgradable app{echo_app()};
    app.config.workers = 12;  // so that one of them is caught before it is ready
    app.config.ready_timeout_ms = 1'500;
    app.config.drain_timeout_ms = 60'000;
    app.start();
    const Endpoint endpoint = app.server->at("echo");
    pid_t master = app.server->master();
    for (int attempt = 0; attempt < 50; ++attempt) {
        std::future<Finished> answer;
        const pid_t successor = upgrade_and_stop_a_worker(app, master, answer);
        std::vector<Connection> held;
        while (answer.wait_for(std::chrono::milliseconds{10}) != std::future_status::ready) {
            if (held.size() == 80) continue;
            held.push_back(Connection::to(endpoint));
            held.back().echo("before");
        }
        const Finished upgraded = answer.get();
        INFO(upgraded.text());
        if (upgraded.code == 0) {  // it was ready by then
            for (const pid_t worker : children_of(successor)) ::kill(worker, SIGCONT);
            app.masters.push_back(master = successor);
            continue;
        }
        CHECK(has(upgraded.error, "a worker was not ready within master.ready_timeout_ms"));
        CHECK(is_running(successor));
        CHECK(has(app.ctl("reload").output, "serves"));  // which waits for none of that
        for (Connection& connection : held) connection.echo("after");
        held.clear();
        CHECK(eventually(soon(), [&] { return !is_running(successor); }));
        CHECK(app.holder() == master);
        return;
    }
    FAIL("no worker was caught");
}

TEST_CASE("an upgrade that is ready just as its time is over is done, or undone") {
    Upgradable app{echo_app()};
    const std::string path = app.dir.file("echo.sock");
    app.config.listeners = {{"unix:" + path, "echo"}};
    app.start();
    int done = 0;
    for (int i = 0; i < 16; ++i) {
        app.config.upgrade_timeout_ms = i == 15 ? 20'000 : 16 + 8 * i;
        app.server->write_config(app.config.text());
        REQUIRE(app.ctl("reload").code == 0);
        const pid_t before = app.holder();
        const Finished upgraded = app.ctl("upgrade");
        INFO(upgraded.text());
        const pid_t after = app.holder();
        CHECK((upgraded.code == 0) == (before != after));
        CHECK(is_running(after));
        if (before != after) app.masters.push_back(after);
        done += upgraded.code == 0 ? 1 : 0;
        Connection::to(Endpoint::parse("unix:" + path)).echo("here");
        CHECK(has(app.ctl("status").output, "master " + std::to_string(after)));
    }
    CHECK(done > 0);
    REQUIRE(app.server->wait(later()));
}

TEST_CASE("a log that is rotated during an upgrade is opened again by the successor") {
    Upgradable app{echo_app()};
    app.config.workers = 12;  // so that one of them is stopped before it is ready
    app.config.log_target = app.dir.file("log");
    app.start();
    pid_t master = app.server->master();
    for (int attempt = 0; attempt < 50; ++attempt) {
        std::future<Finished> answer;
        const pid_t successor = upgrade_and_stop_a_worker(app, master, answer);
        // It has workers: so it has opened the log.
        std::filesystem::rename(*app.config.log_target, app.dir.file("log.1"));
        const bool early =
            answer.wait_for(std::chrono::milliseconds{200}) != std::future_status::ready;
        if (early) CHECK(app.ctl("reopen").code == 0);
        for (const pid_t worker : children_of(successor)) ::kill(worker, SIGCONT);
        REQUIRE(answer.get().code == 0);
        app.masters.push_back(master = successor);
        if (!early) {
            CHECK(app.ctl("reopen").code == 0);
            continue;
        }
        CHECK(eventually(
            later(), [&] { return has(read_file(*app.config.log_target), "ready: generation"); }));
        return;
    }
    FAIL("no worker was stopped in time");
}

TEST_CASE("a stop during an upgrade ends both") {
    Upgradable app{echo_app()};
    app.start();
    app.install_script("exec sleep 100");
    app.server->signal(SIGUSR2);
    static_cast<void>(app.server->log().wait_for("upgrade: the new master is process"));
    CHECK(app.ctl("upgrade").code == 1);  // another one is under way
    app.server->signal(SIGTERM);
    const auto ended = app.server->wait(later());
    REQUIRE(ended);
    CHECK(ended->code() == 0);
}

}  // namespace
}  // namespace e2e
