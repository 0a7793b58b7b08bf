// The whole runner, for as short as it goes.
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "../temp_dir.h"

namespace {

std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Runs compare with its output in DIR/out; returns its exit status.
int compare(const testing::TempDir& directory, const std::string& arguments) {
    const std::string command =
        fmt::format("{} --build {} --directory {} {} >{} 2>&1", BENCH_COMPARE, BENCH_BUILD,
                    directory.file(""), arguments, directory.file("out"));
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Tells whether compare can have a network of its own.
bool may_make_namespaces() {
    const pid_t child = fork();
    if (child == 0) _exit(unshare(CLONE_NEWNET) == 0 ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    return status == 0;
}

/// Tells whether it runs; one that has ended and waits to be reaped does not.
bool runs(pid_t pid) {
    const std::string stat = read(fmt::format("/proc/{}/stat", pid));
    return !stat.empty() && stat.find(") Z ") == stat.npos;
}

}  // namespace

TEST_CASE("compare runs a cell and writes table, JSON and chart") {
    const testing::TempDir directory;
    const int status =
        compare(directory, fmt::format("--cells echo-c1-p64-d1,relay-c1-p64-d1 --contestants epoll "
                                       "--pairs 1 --seconds 0.3 --json {} --plot {}",
                                       directory.file("all.json"), directory.file("plots")));
    const std::string output = read(directory.file("out"));
    INFO(output);
    CHECK(status == 0);
    CHECK(output.find("| ringfort ") != output.npos);
    CHECK(output.find("driver:   ") != output.npos);
    if (may_make_namespaces())
        CHECK(output.find("network:  a namespace of its own, congestion control reno") !=
              output.npos);
    CHECK(output.find("| epoll ") != output.npos);
    CHECK(output.find("Relay: 1 connection") != output.npos);
    CHECK(read(directory.file("all.json")).find("\"cell\":\"echo-c1-p64-d1\"") !=
          std::string::npos);
    CHECK(read(directory.file("plots/echo-c1-p64-d1.svg")).starts_with("<svg "));
}

TEST_CASE("compare counts what each of four workers accepts, and waits while one is stopped") {
    const testing::TempDir directory;
    const int status = compare(directory, "--accepts");
    const std::string output = read(directory.file("out"));
    INFO(output);
    CHECK(status == 0);
    CHECK(output.find("held: most connections of a worker / mean | 5 |") != output.npos);
    CHECK(output.find("the same with one worker stopped, ms | 400 |") != output.npos);
}

TEST_CASE("compare tells wrong usage from failure") {
    const testing::TempDir directory;
    CHECK(compare(directory, "--cells no-such-cell") == 2);
    CHECK(compare(directory, "--pairs many") == 2);
    CHECK(compare(directory, "--list") == 0);
    CHECK(read(directory.file("out")).find("echo-c50-p64-d1") != std::string::npos);
}

TEST_CASE("compare killed with SIGKILL leaves no server behind") {
    const testing::TempDir directory;
    const pid_t runner = fork();
    if (runner == 0) {
        if (std::freopen(directory.file("out").c_str(), "w", stdout) == nullptr) _exit(126);
        const std::string logs = directory.file("");
        execl(BENCH_COMPARE, BENCH_COMPARE, "--build", BENCH_BUILD, "--directory", logs.c_str(),
              "--cells", "relay-c1-p64-d1", "--contestants", "epoll", "--seconds", "60",
              static_cast<char*>(nullptr));
        _exit(127);
    }
    REQUIRE(runner > 0);
    // The echo behind it lives as long as the cell. Ours is the first relay to be loaded, and says
    // where when it serves.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    std::string children;
    while (std::chrono::steady_clock::now() < deadline &&
           read(directory.file("ringfort-relay.log")).find("listening") == std::string::npos)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    children = read(fmt::format("/proc/{0}/task/{0}/children", runner));
    kill(runner, SIGKILL);
    waitpid(runner, nullptr, 0);
    REQUIRE_FALSE(children.empty());
    bool all_gone = false;
    while (!all_gone && std::chrono::steady_clock::now() < deadline) {
        all_gone = true;
        std::size_t at = 0;
        while (at < children.size()) {
            std::size_t used = 0;
            const auto pid = static_cast<pid_t>(std::stoi(children.substr(at), &used));
            all_gone = all_gone && !runs(pid);
            at += used + 1;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    CHECK(all_gone);
}
