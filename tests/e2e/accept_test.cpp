// Several workers on one listener: who gets the connections, and who takes those for which the
// kernel woke a worker that is stopped.
#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "kernel_sockets.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

bool on_epoll() {
    const char* const driver = std::getenv("RINGFORT_DRIVER");
    return driver != nullptr && std::string_view{driver} == "epoll";
}

/// A process that is stopped as long as this lives.
class Stopped {
public:
    explicit Stopped(pid_t pid) : pid_{pid} { stop(pid_); }
    ~Stopped() { ::kill(pid_, SIGCONT); }
    Stopped(const Stopped&) = delete;
    Stopped& operator=(const Stopped&) = delete;

private:
    pid_t pid_;
};

TEST_CASE("four workers share the connections of a listener about evenly") {
    if (on_epoll()) SKIP("on epoll every worker is woken, and one may take them all");
    constexpr int connections = 400;
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 4;
    Server server{app, config, dir};
    const std::vector<pid_t> workers = server.wait_workers(4);
    std::vector<Connection> held;
    std::map<pid_t, int> counts;
    for (int i = 0; i < connections; ++i) {
        held.push_back(Connection::to(server.at("echo")));
        held.back().echo("hello");
        const auto worker = holder_of_peer(held.back().fd(), workers);
        REQUIRE(worker);
        ++counts[*worker];
    }
    int most = 0;
    for (const auto& [worker, count] : counts) most = std::max(most, count);
    CHECK(counts.size() == 4);
    CHECK(most * 4 <= connections * 3 / 2);
}

TEST_CASE("while a worker is stopped every connection is soon served by another") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 2;
    Server server{app, config, dir};
    const std::vector<pid_t> workers = server.wait_workers(2);
    for (int round = 0; round < 3; ++round) {
        for (const pid_t worker : workers) {
            const Stopped stopped{worker};
            for (int i = 0; i < 5; ++i) {
                const Stopwatch stopwatch;
                Connection::to(server.at("echo")).echo("hello");
                // A sweep takes 20 ms; a busy machine is given much more, but not for ever.
                CHECK(stopwatch.elapsed() < milliseconds{1'000});
            }
        }
    }
    CHECK(server.workers() == workers);
}

}  // namespace
}  // namespace e2e
