// A server in the background, and what whoever starts it learns.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
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

std::string descriptor(pid_t pid, int number) {
    char target[256];
    const std::string link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(number);
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
    return size < 0 ? "closed" : std::string(target, static_cast<std::size_t>(size));
}

Config in_background(const TempDir& dir) {
    Config config;
    config.master_lines = "daemon = true\n";
    config.pid_file = dir.file("pid");
    config.log_target = dir.file("log");
    config.listeners = {{"unix:" + dir.file("echo.sock")}};
    return config;
}

/// The daemon of a pid file: an orphan, which comes to this process. Killed at the end, if it is
/// still there.
class Daemon {
public:
    explicit Daemon(const std::string& pid_file) : pid_{std::atoi(read_file(pid_file).c_str())} {
        REQUIRE(pid_ > 1);
    }
    ~Daemon() {
        for (const pid_t pid : members_of_group(pid_)) ::kill(pid, SIGKILL);
        while (::waitpid(-pid_, nullptr, 0) > 0) continue;
    }
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// Waits for its end; returns its exit code, -1 when it does not come.
    [[nodiscard]] int wait() const {
        int status = -1;
        const bool ended =
            eventually(soon(), [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
        return ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

private:
    pid_t pid_;
};

TEST_CASE("a daemon's start returns 0 when it serves, and has let go of its caller") {
    const std::string app = echo_app();
    const TempDir dir;
    write_file(dir.file("config.toml"), in_background(dir).text());
    const Finished start = run({app, "-c", dir.file("config.toml")});
    INFO(start.text());
    REQUIRE(start.code == 0);
    const Daemon daemon{dir.file("pid")};
    Connection::to(Endpoint::parse("unix:" + dir.file("echo.sock"))).echo("at once");
    CHECK(::getsid(daemon.pid()) == daemon.pid());
    std::vector<pid_t> processes = children_of(daemon.pid());
    CHECK(processes.size() == 2);
    processes.push_back(daemon.pid());
    for (const pid_t pid : processes) {
        INFO("process " << pid);
        CHECK(descriptor(pid, 0) == "/dev/null");
        CHECK(descriptor(pid, 1) == "/dev/null");
        CHECK(descriptor(pid, 2) == dir.file("log"));
        const std::vector<std::string> open = open_files(pid);
        CHECK(std::ranges::none_of(open, [](const auto& file) { return has(file, "/err"); }));
    }
    CHECK(run({app, "-c", dir.file("config.toml"), "-s", "reload"}).code == 0);
    LogFile{dir.file("log")}.wait_for("generation 2 serves");
    CHECK(run({app, "-c", dir.file("config.toml"), "-s", "quit"}).code == 0);
    CHECK(daemon.wait() == 0);
    CHECK_FALSE(std::filesystem::exists(dir.file("pid")));
    CHECK_FALSE(std::filesystem::exists(dir.file("echo.sock")));
}

TEST_CASE("a daemon that cannot serve has its errors and its exit code told by its start") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = in_background(dir);
    std::string reason;
    SECTION("an address that is taken") {
        config.listeners = {{"unix:" + dir.file("missing/echo.sock")}};
        reason = "The directory does not exist";
    }
    SECTION("a worker that does not get ready") {
        config.open_files = 6;
        reason = "Too many open files";
    }
    SECTION("a log that cannot be opened") {
        config.log_target = dir.file("missing/log");
        reason = "open the log";
    }
    SECTION("a broken configuration") {
        config.master_lines += "nonsense = 1\n";
        reason = "unknown key `nonsense`";
    }
    SECTION("a log that nobody would read") {
        config.log_target.reset();
        reason = "`daemon` needs a file for the log";
    }
    write_file(dir.file("config.toml"), config.text());
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {  // what earlier tests have left to this process
    }
    const Finished start = run({app, "-c", dir.file("config.toml")});
    INFO(start.text());
    CHECK(start.code == 1);
    CHECK(has(start.error, reason));
    CHECK_FALSE(std::filesystem::exists(dir.file("pid")));
    CHECK(::waitpid(-1, nullptr, WNOHANG) <= 0);  // nor a process, which would be ours now
}

TEST_CASE("a second daemon with the pid file of a running one is refused, by its exit code too") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = in_background(dir);
    write_file(dir.file("config.toml"), config.text());
    REQUIRE(run({app, "-c", dir.file("config.toml")}).code == 0);
    const Daemon daemon{dir.file("pid")};
    config.listeners = {{}};
    write_file(dir.file("second.toml"), config.text());
    const Finished second = run({app, "-c", dir.file("second.toml")});
    INFO(second.text());
    CHECK(second.code == 1);
    CHECK(has(second.error, "is already running with it"));
    ::kill(daemon.pid(), SIGINT);
    CHECK(daemon.wait() == 0);
}

TEST_CASE("under a service manager a server stays in the foreground, and says so") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.master_lines = "daemon = true\n";
    config.log_target = dir.file("log");
    ::setenv("NOTIFY_SOCKET", dir.file("notify").c_str(), 1);
    Server server{app, config, dir};
    ::unsetenv("NOTIFY_SOCKET");
    CHECK(server.wait_workers(2).size() == 2);
    CHECK(
        has(read_file(server.error_path()), "master.daemon has no effect under a service manager"));
}

TEST_CASE("a reload that changes what holds from the start on is refused by name") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.log_target = dir.file("log");
    Server server{app, config, dir};
    config.master_lines = "daemon = true\nworking_directory = \"/\"\n";
    server.write_config(config.text());
    const std::size_t mark = server.log().mark();
    static_cast<void>(server.reload_expecting_failure());
    server.log().wait_for("`master.daemon` cannot change while the server runs", mark);
    server.log().wait_for("`master.working_directory` cannot change while the server runs", mark);
    Connection::to(server.at("echo")).echo("hello");
}

}  // namespace
}  // namespace e2e
