// A configuration of 2,000 listeners.
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
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

namespace e2e {
namespace {

constexpr std::size_t many = 2'000;
constexpr std::size_t workers = 4;
/// Of CPU time, which no busy neighbour stretches much; it takes a tenth.
constexpr std::uint64_t start_ms = 1'000 * slow_factor;

Config of_many() {
    Config config;
    config.workers = workers;
    config.connections = 100;
    config.listeners.assign(many, {});
    return config;
}

/// Returns where all of them listen, in the order of the configuration.
std::vector<Endpoint> endpoints(Server& server) {
    constexpr std::string_view heading = "listening on ";
    std::vector<Endpoint> found;
    for (const std::string& line : server.log().find(heading)) {
        const std::size_t start = line.find(heading) + heading.size();
        found.push_back(Endpoint::parse(line.substr(start, line.find(' ', start) - start)));
    }
    return found;
}

/// Leaves the master what it needs for the listeners and little more: were they copied once more
/// for every worker, there would not be enough.
bool limit_descriptors() {
    const rlimit limit{2'300, 2'300};
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

bool too_few_descriptors() {
    const rlimit limit{500, 500};
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

TEST_CASE("2,000 listeners start, reload and drain in bounded time, with few descriptors more") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, of_many(), dir, limit_descriptors};
    CHECK(cpu_time_ms(server.master()) < start_ms);
    const std::vector<Endpoint> all = endpoints(server);
    REQUIRE(all.size() == many);
    for (std::size_t i = 0; i < many; i += 97) Connection::to(all[i]).echo("hello");
    Connection::to(all.back()).echo("hello");
    CHECK(open_files(server.master()).size() < many + 100);

    Load first{all.front()};
    Load last{all.back()};
    const std::vector<pid_t> before = server.wait_workers(workers);
    static_cast<void>(server.reload());
    CHECK(cpu_time_ms(server.master()) < 2 * start_ms);
    CHECK(eventually(later(), [&] {
        return std::ranges::none_of(before, [](pid_t pid) { return is_running(pid); });
    }));
    CHECK(first.wait_for_more(20));
    CHECK(last.wait_for_more(20));
    for (std::size_t i = 0; i < many; i += 97) Connection::to(all[i]).echo("hello");
    first.stop();
    last.stop();
    INFO(first.text() << "; " << last.text());
    CHECK(first.failed() + last.failed() == 0);
    CHECK(open_files(server.master()).size() < many + 100);

    server.signal(SIGTERM);
    const auto status = server.wait(later());
    REQUIRE(status);
    CHECK(status->code() == 0);
}

TEST_CASE("a descriptor limit too low for 2,000 listeners is told once, with the remedy") {
    const std::string app = echo_app();
    const TempDir dir;
    write_file(dir.file("config.toml"), of_many().text());
    Child server{{.argv = {app, "-c", dir.file("config.toml")},
                  .error_path = dir.file("err"),
                  .before_exec = too_few_descriptors}};
    const auto status = server.wait();
    const std::string said = read_file(dir.file("err"));
    INFO(said);
    REQUIRE(status);
    CHECK(status->code() == 1);
    CHECK(said.find("Too many open files. The 2000 listeners need a descriptor each, and a worker "
                    "some more, but only 500 are allowed: raise the hard limit") !=
          std::string::npos);
    CHECK(std::ranges::count(said, '\n') < 10);
}

}  // namespace
}  // namespace e2e
