// What a server's processes find around them: environment, working directory, core limit, standard
// error.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "log_file.h"
#include "processes.h"
#include "server.h"
#include "text.h"

namespace e2e {
namespace {

/// Asks a worker for one of its variables; see spin.cpp.
std::string variable(Server& server, const std::string& name) {
    Connection connection = Connection::to(server.at("spin"));
    connection.send("getenv " + name);
    connection.shutdown_write();
    return connection.receive_to_end();
}

Config of_spin() {
    Config config;
    config.listeners = {{"127.0.0.1:0", "spin"}};
    config.respawn_backoff_min_ms = 10;
    return config;
}

/// A variable of this process while it lives.
struct Variable {
    Variable(const char* name, const char* value) : name{name} { ::setenv(name, value, 1); }
    ~Variable() { ::unsetenv(name); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;
    const char* name;
};

TEST_CASE("workers have all of the environment, or what master.environment names and sets") {
    const std::string app = spin_app();
    const TempDir dir;
    const Variable kept{"RINGFORT_TEST_KEPT", "kept"};
    const Variable dropped{"RINGFORT_TEST_DROPPED", "dropped"};
    Config config = of_spin();
    Server server{app, config, dir};
    CHECK(variable(server, "RINGFORT_TEST_KEPT") == "kept");
    CHECK(variable(server, "RINGFORT_TEST_DROPPED") == "dropped");

    config.master_lines = "environment = [\"RINGFORT_TEST_KEPT\", \"RINGFORT_TEST_SET=a=b\"]\n";
    server.write_config(config.text());
    static_cast<void>(server.reload());
    static_cast<void>(server.wait_workers(2));
    CHECK(variable(server, "RINGFORT_TEST_KEPT") == "kept");
    CHECK(variable(server, "RINGFORT_TEST_DROPPED") == "not set");
    CHECK(variable(server, "RINGFORT_TEST_SET") == "a=b");

    // A reload that fails leaves it, for workers that are respawned as well.
    config.master_lines = "environment = []\n";
    const std::vector<ListenerConfig> good = config.listeners;
    config.listeners.push_back({"unix:" + dir.file("missing/socket"), "spin"});
    server.write_config(config.text());
    static_cast<void>(server.reload_expecting_failure());
    const std::vector<pid_t> killed = server.workers();
    for (const pid_t pid : killed) ::kill(pid, SIGKILL);
    REQUIRE(eventually(soon(), [&] { return std::ranges::none_of(killed, is_running); }));
    static_cast<void>(server.wait_workers(2));
    CHECK(variable(server, "RINGFORT_TEST_SET") == "a=b");

    config.listeners = good;
    config.master_lines = "";
    server.write_config(config.text());
    static_cast<void>(server.reload());
    static_cast<void>(server.wait_workers(2));
    CHECK(variable(server, "RINGFORT_TEST_DROPPED") == "dropped");
    CHECK(variable(server, "RINGFORT_TEST_SET") == "not set");
}

TEST_CASE(
    "relative paths start from master.working_directory, that of the configuration does not") {
    const std::string app = echo_app();
    const TempDir dir;
    std::filesystem::create_directory(dir.file("home"));
    Config config;
    config.master_lines = "working_directory = \"" + dir.file("home") + "\"\n";
    config.pid_file = "pid";
    config.control = "control";
    config.listeners = {{"unix:echo.sock"}};
    write_file(dir.file("config.toml"), config.text());
    const auto here = [&](std::vector<std::string> words) {
        words.insert(words.begin(), {"env", "-C", dir.path().string(), app, "-c", "config.toml"});
        return words;
    };
    CHECK(run(here({"-t"})).code == 0);
    Child server{{.argv = here({}), .error_path = dir.file("err")}};
    LogFile log{dir.file("err")};
    log.wait_for("ready: generation 1");
    CHECK(std::filesystem::exists(dir.file("home/pid")));
    Connection::to(Endpoint::parse("unix:" + dir.file("home/echo.sock"))).echo("hello");
    for (const pid_t pid : children_of(server.pid()))
        CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/cwd") ==
              std::filesystem::canonical(dir.file("home")));
    CHECK(run(here({"-s", "reload"})).code == 0);
    log.wait_for("generation 2 serves");
    const Finished stop = run(here({"ctl", "quit"}));
    INFO(stop.text());
    CHECK(stop.code == 0);
    CHECK(server.wait()->code() == 0);

    config.master_lines = "working_directory = \"" + dir.file("nowhere") + "\"\n";
    write_file(dir.file("config.toml"), config.text());
    for (const auto& words : {here({"-t"}), here({})}) {
        const Finished refused = run(words);
        INFO(refused.text());
        CHECK(refused.code == 1);
        CHECK(has(refused.error, "master.working_directory " + dir.file("nowhere") +
                                     ": chdir: No such file or directory"));
    }
}

TEST_CASE("master.core_size limits the workers' cores, and lets those of master.user leave some") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.master_lines = "core_size = \"8KiB\"\n";
    if (::geteuid() == 0) config.user = "nobody";
    Server server{app, config, dir};
    const auto owner = [](pid_t pid) {
        struct stat status{};  // root's as long as the process is not dumpable, prctl(2)
        REQUIRE(::stat(("/proc/" + std::to_string(pid) + "/stat").c_str(), &status) == 0);
        return std::to_string(status.st_uid);
    };
    const auto uid = [](pid_t pid) {
        const std::string all = status_of(pid, "Uid");
        return all.substr(0, all.find(' '));
    };
    for (const pid_t pid : server.wait_workers(2)) {
        const std::string limits = read_file("/proc/" + std::to_string(pid) + "/limits");
        CHECK(has(limits, "Max core file size        8192 "));
        CHECK(eventually(soon(), [&] { return owner(pid) == uid(pid); }));
        if (::geteuid() == 0) CHECK(uid(pid) != "0");
    }
    if (::geteuid() != 0) return;
    config.master_lines = "";
    server.write_config(config.text());
    static_cast<void>(server.reload());
    for (const pid_t pid : server.wait_workers(2)) CHECK(owner(pid) == "0");
}

TEST_CASE("what is written to standard error reaches the log file, also after it was reopened") {
    const std::string app = spin_app();
    const TempDir dir;
    Config config = of_spin();
    config.log_target = dir.file("log");
    Server server{app, config, dir};
    const auto complain = [&](const std::string& what) {
        Connection connection = Connection::to(server.at("spin"));
        connection.send("stderr " + what);
        CHECK(connection.receive(7 + what.size()) == "stderr " + what);
    };
    complain("first\n");
    server.log().wait_for("first");
    std::filesystem::rename(dir.file("log"), dir.file("log.1"));
    const std::size_t before = LogFile{dir.file("log.1")}.mark();
    server.signal(SIGUSR1);
    server.log().wait_for("logs reopened");
    CHECK(eventually(soon(), [&] {
        for (const pid_t pid : server.workers())
            for (const std::string& file : open_files(pid))
                if (has(file, "log.1")) return false;
        return true;
    }));
    complain("second\n");
    server.log().wait_for("second");
    CHECK(LogFile{dir.file("log.1")}.find("second", before).empty());
    CHECK_FALSE(has(read_file(server.error_path()), "second"));

    // Back to standard error, which leads where it did at the start.
    config.log_target.reset();
    server.write_config(config.text());
    server.signal(SIGHUP);
    LogFile error{server.error_path()};
    error.wait_for("reload: generation 2 serves");
    CHECK(eventually(soon(), [&] { return server.workers().size() == 2; }));
    complain("third\n");
    error.wait_for("third");
}

}  // namespace
}  // namespace e2e
