// What a server does with standard streams and logs that cannot be used.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

bool close_standard_streams() {
    return ::close(0) == 0 && ::close(1) == 0 && ::close(2) == 0;
}

/// Leaves standard error a pipe that nobody reads from any more.
bool break_standard_error() {
    int ends[2];
    return ::pipe(ends) == 0 && ::dup2(ends[1], 2) == 2 && ::close(ends[0]) == 0 &&
           ::close(ends[1]) == 0;
}

std::string descriptor(pid_t pid, int number) {
    char target[256];
    const std::string link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(number);
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
    return size < 0 ? "closed" : std::string(target, static_cast<std::size_t>(size));
}

TEST_CASE("started with its standard streams closed, a server opens nothing else in their place") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.log_target = dir.file("log");
    Server server{app, config, dir, close_standard_streams};
    std::vector<pid_t> processes = server.wait_workers(2);
    processes.push_back(server.master());
    for (const pid_t pid : processes)
        for (const int number : {0, 1, 2}) {
            INFO("process " << pid << ", descriptor " << number);
            CHECK(descriptor(pid, number) == (number == 2 ? dir.file("log") : "/dev/null"));
        }
    static_cast<void>(server.reload());
    Connection::to(server.at("echo")).echo("hello");
}

TEST_CASE("with nobody to read its log a server serves, reloads, respawns and ends as ever") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.listeners = {{"unix:" + dir.file("echo.sock")}};
    config.respawn_backoff_min_ms = 10;
    const Endpoint echo = Endpoint::parse("unix:" + dir.file("echo.sock"));
    SECTION("a log on a full disk") {
        config.log_target = "/dev/full";
    }
    SECTION("standard error is a broken pipe") {}
    write_file(dir.file("config.toml"), config.text());
    Child master{{.argv = {app, "-c", dir.file("config.toml")},
                  .before_exec = config.log_target ? nullptr : break_standard_error}};
    const auto served = [&] {
        try {
            Connection::to(echo).echo("hello");
            return true;
        } catch (const NetError&) {
            return false;
        }
    };
    REQUIRE(eventually(soon(), served));
    std::vector<pid_t> before = children_of(master.pid());
    const auto replaced = [&] {
        const std::vector<pid_t> workers = children_of(master.pid());
        for (const pid_t pid : before)
            if (is_running(pid)) return false;
        return workers.size() == 2 && served();
    };
    master.signal(SIGHUP);
    CHECK(eventually(soon(), replaced));
    before = {children_of(master.pid()).front()};
    ::kill(before.front(), SIGKILL);
    CHECK(eventually(soon(), replaced));
    master.signal(SIGUSR1);
    master.signal(SIGTERM);
    const auto status = master.wait();
    REQUIRE(status);
    CHECK(status->code() == 0);
    CHECK(members_of_group(master.pid()).empty());
}

bool few_descriptors() {
    const rlimit files{24, 24};
    return ::setrlimit(RLIMIT_NOFILE, &files) == 0;
}

TEST_CASE("a start that runs out of descriptors between two workers exits 1 and leaves nothing") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 32;
    write_file(dir.file("config.toml"), config.text());
    Child server{{.argv = {app, "-c", dir.file("config.toml")},
                  .error_path = dir.file("err"),
                  .before_exec = few_descriptors}};
    const auto status = server.wait();
    INFO(read_file(dir.file("err")));
    REQUIRE(status);
    CHECK(status->code() == 1);
    CHECK(read_file(dir.file("err")).find("start failed: a worker could not be spawned") !=
          std::string::npos);
    CHECK(members_of_group(server.pid()).empty());
}

}  // namespace
}  // namespace e2e
