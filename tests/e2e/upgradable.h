/// A server that is upgraded.
#pragma once
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "processes.h"
#include "server.h"
#include "text.h"

namespace e2e {

/// A directory with a copy of an app that can be replaced, and a server of it.
struct Upgradable {
    std::string original;
    TempDir dir;
    std::string app;
    Config config;
    std::optional<Server> server;
    std::vector<pid_t> masters;  ///< those that took over

    explicit Upgradable(const std::string& binary) : original{binary}, app{dir.file("app")} {
        install();
        config.control = dir.file("control.sock");
        config.pid_file = dir.file("pid");
        config.upgrade_timeout_ms = 20'000;
        config.orphan_grace_ms = 500;
    }
    ~Upgradable() {
        if (masters.empty()) return;
        ::kill(masters.back(), SIGTERM);
        const bool gone = eventually(later(), [&] { return !is_running(masters.back()); });
        INFO(server->log().text());
        CHECK(gone);
        CHECK_FALSE(std::filesystem::exists(*config.pid_file));
        CHECK_FALSE(std::filesystem::exists(*config.control));
    }
    Upgradable(const Upgradable&) = delete;
    Upgradable& operator=(const Upgradable&) = delete;

    void start() { server.emplace(app, config, dir); }
    /// Puts the real binary in place, as a package manager would: another file by the same name.
    void install() const {
        std::filesystem::copy_file(original, app + ".next");
        std::filesystem::rename(app + ".next", app);
    }
    /// Puts a shell script in place.
    void install_script(const std::string& body) const {
        write_file(app + ".next", "#!/bin/sh\n" + body + "\n");
        ::chmod((app + ".next").c_str(), 0755);
        std::filesystem::rename(app + ".next", app);
    }
    [[nodiscard]] Finished ctl(const std::string& order) const {
        return e2e::ctl(original, *config.control, {order}, later());
    }
    /// Upgrades, and notes who serves then.
    Finished upgrade() {
        Finished answer = ctl("upgrade");
        INFO(answer.text());
        CHECK(answer.code == 0);
        masters.push_back(holder());
        CHECK(has(answer.output, "process " + std::to_string(masters.back()) + " serves"));
        return answer;
    }
    [[nodiscard]] pid_t holder() const {
        return static_cast<pid_t>(std::stol(read_file(*config.pid_file)));
    }
    /// Fails unless everything is as before the upgrade was tried.
    void serves_as_before() {
        CHECK(holder() == server->master());
        CHECK_FALSE(std::filesystem::exists(*config.pid_file + ".new"));
        Connection::to(server->at("echo")).echo("as before");
        CHECK(has(ctl("status").output, "master " + std::to_string(server->master())));
        CHECK(server->wait_workers(2).size() == 2);
    }
};

}  // namespace e2e
