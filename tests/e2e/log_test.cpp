#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "json.h"
#include "log_file.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

TEST_CASE("after a rename and -s reopen's signal, master and workers write to the new file") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.log_target = dir.file("log");
    Server server{app, config, dir};
    const std::vector<pid_t> workers = server.wait_workers(2);
    std::filesystem::rename(dir.file("log"), dir.file("log.1"));
    server.signal(SIGUSR1);
    const auto lets_go = [&](pid_t pid) {
        const std::vector<std::string> files = open_files(pid);
        return std::ranges::none_of(files, [&](const auto& f) { return f == dir.file("log.1"); });
    };
    for (const pid_t pid : workers) CHECK(eventually(soon(), [&] { return lets_go(pid); }));
    CHECK(eventually(soon(), [&] { return lets_go(server.master()); }));
    // A worker's own word needs a reason to log: the end of its drain at the latest. The reload
    // makes the old workers drain and exit.
    REQUIRE(eventually(soon(), [&] { return std::filesystem::exists(dir.file("log")); }));
    static_cast<void>(server.reload());
    for (const pid_t pid : workers) server.log().wait_for("[" + std::to_string(pid) + " worker");
    server.log().wait_for("[" + std::to_string(server.master()) + " master");
    const LogFile old{dir.file("log.1")};
    CHECK_FALSE(old.find("ready: generation 1").empty());
    CHECK(old.find("generation 2 serves").empty());
}

TEST_CASE("reopen at a path that cannot be opened keeps the old file and the server") {
    const std::string app = echo_app();
    const TempDir dir;
    std::filesystem::create_directory(dir.file("logs"));
    Config config;
    config.log_target = dir.file("logs/log");
    Server server{app, config, dir};
    std::filesystem::rename(dir.file("logs"), dir.file("moved"));
    LogFile moved{dir.file("moved/log")};
    const std::size_t mark = moved.mark();
    server.signal(SIGUSR1);
    moved.wait_for("reopen", mark);
    Connection::to(server.at("echo")).echo("still here");
    std::filesystem::rename(dir.file("moved"), dir.file("logs"));
}

TEST_CASE("a text line names time, level, pid, role, generation and slot") {
    const std::string app = echo_app();
    const TempDir dir;
    std::optional<Server> server{std::in_place, app, Config{}, dir};
    const std::string path = server->log().path();
    const pid_t master = server->master();
    server.reset();
    int from_master = 0;
    for (const std::string& line : LogFile{path}.lines()) {
        INFO(line);
        REQUIRE(line.size() > 33);
        CHECK(line[10] == 'T');
        CHECK(line.substr(23, 2) == "Z ");
        const std::string level = line.substr(25, 7);
        CHECK(
            (level == "debug  " || level == "info   " || level == "warning" || level == "error  "));
        CHECK(line.substr(32, 2) == " [");
        if (line.find("[" + std::to_string(master) + " master") == 33) ++from_master;
        const std::size_t worker = line.find(" worker g");
        if (worker != line.npos && worker < line.find(']'))
            CHECK(line.find(" s", worker + 9) < line.find(']'));
    }
    CHECK(from_master > 0);
}

TEST_CASE("JSON lines are valid and carry level, pid, role, generation and slot") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.log_format = "json";
    config.log_target = dir.file("log");
    std::optional<Server> server{std::in_place, app, config, dir};
    const pid_t master = server->master();
    const std::vector<pid_t> workers = server->wait_workers(2);
    static_cast<void>(server->reload());
    server->write_config("nonsense with \"quotes\" and \\ and \x01");
    static_cast<void>(server->reload_expecting_failure());
    server.reset();

    std::set<std::string> pids;
    std::set<std::string> slots;
    for (const std::string& line : LogFile{dir.file("log")}.lines()) {
        INFO(line);
        const auto entry = parse_flat_json(line);
        REQUIRE(entry);
        for (const char* key : {"time", "level", "pid", "role", "generation", "message"})
            REQUIRE(entry->contains(key));
        CHECK(std::set<std::string>{"debug", "info", "warning", "error"}.contains(
            entry->at("level")));
        if (entry->at("role") == "worker") {
            REQUIRE(entry->contains("slot"));
            slots.insert(entry->at("slot"));
            CHECK(entry->at("generation") != "0");
        }
        pids.insert(entry->at("pid"));
    }
    CHECK(pids.contains(std::to_string(master)));
    for (const pid_t pid : workers) CHECK(pids.contains(std::to_string(pid)));
    CHECK(slots == std::set<std::string>{"0", "1"});
}

TEST_CASE("every line of a busy server is whole: writers do not mix") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 4;
    config.log_format = "json";
    config.log_target = dir.file("log");
    std::optional<Server> server{std::in_place, app, config, dir};
    for (int i = 0; i < 5; ++i) static_cast<void>(server->reload());
    server.reset();
    const auto lines = LogFile{dir.file("log")}.lines();
    CHECK(lines.size() >= 6);
    CHECK(std::all_of(lines.begin(), lines.end(),
                      [](const std::string& line) { return parse_flat_json(line).has_value(); }));
}

}  // namespace
}  // namespace e2e
