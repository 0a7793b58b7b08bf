// Reloads whose cycle takes long to build: the configuration is a pipe that nobody has written to.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <string_view>
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

namespace e2e {
namespace {

struct Slow {
    std::string app = echo_app();
    TempDir dir;
    Config config;
    std::optional<Server> server;
    OwnedFd pipe;

    Slow() {
        config.control = dir.file("control.sock");
        config.respawn_backoff_min_ms = 10;
    }
    void start() { server.emplace(app, config, dir); }
    /// From now on who reads the configuration waits.
    void hold_configuration() {
        REQUIRE(::unlink(server->config_path().c_str()) == 0);
        REQUIRE(::mkfifo(server->config_path().c_str(), 0600) == 0);
        pipe = OwnedFd{::open(server->config_path().c_str(), O_RDWR | O_CLOEXEC)};
    }
    /// Lets whoever waits read it, and whoever comes later.
    void give_configuration() {
        const std::string text = config.text();
        REQUIRE(::write(pipe.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        pipe.close();
        server->write_config(text);
    }
    [[nodiscard]] Finished ctl(const std::vector<std::string>& order) const {
        return e2e::ctl(app, *config.control, order, later());
    }
    [[nodiscard]] std::optional<pid_t> builder() const {
        for (const pid_t pid : children_of(server->master()))
            if (has(title_of(pid), ": builder")) return pid;
        return {};
    }
    /// Begins a reload, and waits until its child is there.
    pid_t begin_reload() {
        server->signal(SIGHUP);
        REQUIRE(eventually(soon(), [&] { return builder().has_value(); }));
        return *builder();
    }
};

TEST_CASE("a reload that takes long keeps the master from nothing") {
    Slow slow;
    slow.start();
    const auto before = slow.server->wait_workers(2);
    slow.hold_configuration();
    auto answer = std::async(std::launch::async, [&] { return slow.ctl({"reload"}); });
    REQUIRE(eventually(soon(), [&] { return slow.builder().has_value(); }));
    // It answers,
    CHECK(has(slow.ctl({"status"}).output, "generation 1 serves"));
    CHECK(has(slow.ctl({"reload", "--dry-run"}).error, "a reload or an upgrade is under way"));
    CHECK(has(slow.ctl({"upgrade"}).error, "a reload or another upgrade is under way"));
    CHECK(slow.ctl({"reopen"}).code == 0);
    // reaps, and respawns.
    ::kill(before[0], SIGKILL);
    REQUIRE(eventually(soon(), [&] {
        const auto now = slow.server->workers();
        return now.size() == 2 && std::ranges::find(now, before[0]) == now.end();
    }));
    Connection::to(slow.server->at("echo")).echo("served meanwhile");
    slow.give_configuration();
    const Finished done = answer.get();
    INFO(done.text());
    CHECK(done.code == 0);
    CHECK(has(done.output, "generation 2 serves"));
    Connection::to(slow.server->at("echo")).echo("served afterwards");
}

TEST_CASE("a reload that takes too long is given up") {
    Slow slow;
    slow.config.build_timeout_ms = 300;
    slow.start();
    slow.hold_configuration();
    const Finished answer = slow.ctl({"reload"});
    INFO(answer.text());
    CHECK(answer.code == 1);
    CHECK(has(answer.error, "not built within master.build_timeout_ms"));
    const Finished rehearsed = slow.ctl({"reload", "--dry-run"});
    CHECK(rehearsed.code == 1);
    CHECK(has(rehearsed.error, "not built within master.build_timeout_ms"));
    slow.give_configuration();
    CHECK(slow.ctl({"reload"}).code == 0);
}

TEST_CASE("a builder that is killed, or stopped and killed, is a reload that failed") {
    Slow slow;
    slow.start();
    slow.hold_configuration();
    for (const bool stopped : {false, true}) {
        const std::size_t mark = slow.server->log().mark();
        const pid_t builder = slow.begin_reload();
        if (stopped) ::kill(builder, SIGSTOP);
        ::kill(builder, SIGKILL);
        static_cast<void>(slow.server->log().wait_for("killed by signal 9", mark));
        static_cast<void>(slow.server->log().wait_for("reload failed", mark));
    }
    slow.give_configuration();
    CHECK(slow.server->reload() == 2);
}

TEST_CASE("a builder that is killed leaves no file of what it had made") {
    Slow slow;
    slow.config.build_timeout_ms = 60'000;
    slow.start();
    const std::string path = slow.dir.file("new.sock");
    const std::string pid_file = slow.dir.file("new.pid");
    // Addresses that are taken are waited for, one after the other.
    const OwnedFd taken = listen_on(Endpoint::parse("0.0.0.0:0"));
    const std::string port = std::to_string(Endpoint::of_socket(taken.get()).port());
    Config next = slow.config;
    next.pid_file = pid_file;
    next.listeners.push_back({.address = "unix:" + path});
    for (int i = 1; i <= 100; ++i)
        next.listeners.push_back({.address = "127.0.0." + std::to_string(i) + ":" + port});
    slow.server->write_config(next.text());
    std::string order = "reload";
    SECTION("for a reload") {}
    SECTION("for a dry run") {
        order = "dry run";
    }
    auto answer = std::async(std::launch::async, [&] {
        return order == "reload" ? slow.ctl({"reload"}) : slow.ctl({"reload", "--dry-run"});
    });
    REQUIRE(eventually(soon(), [&] { return std::filesystem::exists(path); }));
    CHECK(std::filesystem::exists(pid_file) == (order == "reload"));  // a dry run makes none
    for (const pid_t pid : children_of(slow.server->master()))
        if (has(title_of(pid), order == "reload" ? ": builder" : ": dry run")) ::kill(pid, SIGKILL);
    const Finished killed = answer.get();
    INFO(killed.text());
    CHECK(killed.code == 1);
    CHECK(has(killed.error, "killed by signal 9"));
    CHECK(eventually(soon(), [&] { return !std::filesystem::exists(path); }));
    CHECK_FALSE(std::filesystem::exists(pid_file));
    slow.server->write_config(slow.config.text());
    CHECK(slow.ctl({"reload"}).code == 0);
}

TEST_CASE("a log that is rotated while a cycle is built is opened again for that") {
    Slow slow;
    slow.config.log_target = slow.dir.file("log");
    slow.start();
    const auto log_has = [&](const char* what) {
        return has(read_file(*slow.config.log_target), what);
    };
    // A builder has opened the log when it binds; there an address that is taken keeps it waiting
    // for so long (limits::bind_attempts) that it can be stopped.
    for (int attempt = 0; attempt < 20; ++attempt) {
        OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
        const std::string path = slow.dir.file("x" + std::to_string(attempt));
        Config next = slow.config;
        next.listeners.push_back({.address = "unix:" + path});
        next.listeners.push_back({.address = Endpoint::of_socket(taken.get()).text()});
        slow.server->write_config(next.text());
        auto answer = std::async(std::launch::async, [&] { return slow.ctl({"reload"}); });
        while (!std::filesystem::exists(path)) continue;
        const auto builder = slow.builder();
        if (builder) ::kill(*builder, SIGSTOP);
        std::filesystem::rename(*slow.config.log_target, slow.dir.file("log.1"));
        CHECK(slow.ctl({"reopen"}).code == 0);
        taken.close();
        if (builder) ::kill(*builder, SIGCONT);
        if (answer.get().code != 0) continue;  // it had given the address up
        CHECK(log_has("reload: generation "));
        const auto workers = slow.server->wait_workers(2);
        ::kill(workers[0], SIGTERM);
        CHECK(eventually(soon(), [&] { return log_has("draining"); }));
        return;
    }
    FAIL("no builder was stopped in time");
}

TEST_CASE("a stop does not wait for a cycle that is being built") {
    Slow slow;
    slow.start();
    slow.hold_configuration();
    static_cast<void>(slow.begin_reload());
    SECTION("drained") {
        slow.server->signal(SIGTERM);
    }
    SECTION("at once") {
        slow.server->signal(SIGINT);
    }
    const auto ended = slow.server->wait(soon());
    REQUIRE(ended);
    CHECK(ended->code() == 0);
}

TEST_CASE("a dry run ends when a reload begins, and says so") {
    Slow slow;
    slow.start();
    slow.hold_configuration();
    auto rehearsal =
        std::async(std::launch::async, [&] { return slow.ctl({"reload", "--dry-run"}); });
    const auto rehearses = [&] {
        const auto children = children_of(slow.server->master());
        return std::ranges::any_of(children,
                                   [](pid_t pid) { return has(title_of(pid), ": dry run"); });
    };
    REQUIRE(eventually(soon(), rehearses));
    CHECK(has(slow.ctl({"reload", "--dry-run"}).error, "another dry run is under way"));
    static_cast<void>(slow.begin_reload());
    const Finished answer = rehearsal.get();
    CHECK(answer.code == 1);
    CHECK(has(answer.error, "a reload has begun meanwhile"));
    slow.give_configuration();
    static_cast<void>(slow.server->log().wait_for("reload: generation 2 serves"));
}

}  // namespace
}  // namespace e2e
