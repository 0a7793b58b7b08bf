// A server whose wall clock is set while it runs.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdlib>
#include <set>
#include <string>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "load.h"
#include "server.h"

namespace e2e {
namespace {

/// Has what is started meanwhile read a wall clock that jumps by a day at every reading.
class JumpingClock {
public:
    JumpingClock() { ::setenv("LD_PRELOAD", RINGFORT_E2E_JUMPING_CLOCK, 1); }
    ~JumpingClock() { ::unsetenv("LD_PRELOAD"); }
    JumpingClock(const JumpingClock&) = delete;
    JumpingClock& operator=(const JumpingClock&) = delete;
};

/// Returns the dates of all lines of the log.
std::set<std::string> dates(const LogFile& log) {
    std::set<std::string> found;
    for (const std::string& line : log.lines())
        if (line.size() > 10 && line[10] == 'T') found.insert(line.substr(0, 10));
    return found;
}

TEST_CASE("a wall clock that jumps back and forth changes the dates in the log, and nothing else") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.echo_idle_timeout_ms = 300;
    config.watchdog_ms = 400;
    config.respawn_backoff_min_ms = 300;
    config.drain_timeout_ms = 500;
    const JumpingClock clock;
    Server server{app, config, dir};
    if (dates(server.log()).size() < 2) SKIP("this build's clock cannot be taken from it");
    const auto workers = server.wait_workers(2);
    Load load{server.at("echo")};
    REQUIRE(load.wait_for_more(50));

    Connection idle = Connection::to(server.at("echo"));
    const Stopwatch waited;
    idle.echo("and then nothing");
    idle.expect_end();
    CHECK(waited.elapsed() >= milliseconds{250});
    CHECK(waited.elapsed() < milliseconds{6'000});

    static_cast<void>(server.reload());
    CHECK(load.wait_for_more(50));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
    CHECK(eventually(soon(), [&] { return server.workers().size() == 2; }));
    CHECK(server.workers() != workers);

    const Stopwatch respawned;
    ::kill(server.workers().front(), SIGKILL);
    server.log().wait_for("is respawned in 300 ms");
    server.log().wait_for("ready", server.log().mark());
    CHECK(respawned.elapsed() >= milliseconds{250});

    Connection held = Connection::to(server.at("echo"));
    held.echo("outlives the drain time");
    const Stopwatch drained;
    server.signal(SIGTERM);
    const auto status = server.wait();
    REQUIRE(status);
    CHECK(status->code() == 0);
    CHECK(drained.elapsed() < milliseconds{6'000});
    CHECK(server.log().find("no progress").empty());
}

}  // namespace
}  // namespace e2e
