// Whether a server is to be counted on, as a load balancer's probe asks, and when it stops to be.
#include <signal.h>
#include <sys/types.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <optional>
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
#include "text.h"

namespace e2e {
namespace {

using std::chrono::milliseconds;

Finished ctl(const std::string& app, const Config& config, const std::string& order) {
    return e2e::ctl(app, *config.control, {order});
}

TEST_CASE("ctl ready tells whether a worker serves") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.control = dir.file("control.sock");
    config.workers = 1;
    config.respawn_backoff_min_ms = 5'000;
    CHECK(ctl(app, config, "ready").code == 1);
    Server server{app, config, dir};
    const Finished ready = ctl(app, config, "ready");
    CHECK(ready.code == 0);
    CHECK(ready.output == "1 worker serves\n");
    ::kill(server.wait_workers(1).front(), SIGKILL);
    server.log().wait_for("is respawned in");
    const Finished not_ready = ctl(app, config, "ready");
    CHECK(not_ready.code == 1);
    CHECK(not_ready.error == "no worker serves\n");
    CHECK(eventually(later(), [&] { return ctl(app, config, "ready").code == 0; }));
}

TEST_CASE("with a shutdown delay readiness fails first, and those who come still are served") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.control = dir.file("control.sock");
    config.shutdown_delay_ms = 60'000;
    Server server{app, config, dir};
    const Endpoint echo = server.at("echo");
    Connection held = Connection::to(echo);
    held.echo("before");
    server.signal(SIGTERM);
    REQUIRE(eventually(soon(), [&] { return ctl(app, config, "ready").code == 1; }));
    server.log().wait_for("draining in 60000 ms (master.shutdown_delay_ms)");
    CHECK(ctl(app, config, "ready").error == "the master is stopping\n");
    CHECK(has(ctl(app, config, "status").output, ", about to stop\n"));
    for (const char* order : {"reload", "upgrade"}) {
        const Finished refused = ctl(app, config, order);
        CHECK(refused.code == 1);
        CHECK(has(refused.error, "the master is stopping"));
    }
    CHECK(has(e2e::ctl(app, *config.control, {"reload", "--dry-run"}).error,
              "the master is stopping"));
    const std::vector<pid_t> workers = server.wait_workers(2);
    ::kill(workers.front(), SIGKILL);
    CHECK(eventually(soon(), [&] { return !is_running(workers.front()); }));
    CHECK(server.wait_workers(2).size() == 2);
    Connection::to(echo).echo("not turned away yet");
    CHECK(server.log().find("] draining ").empty());
    server.signal(SIGTERM);  // who asks twice does not want to wait
    server.log().wait_for("] draining ");
    held.close();
    CHECK(server.wait()->code() == 0);
}

TEST_CASE("a shutdown delay that is over begins the drain") {
    const TempDir dir;
    Config config;
    config.shutdown_delay_ms = 700;
    Server server{echo_app(), config, dir};
    const Stopwatch stopwatch;
    server.signal(SIGTERM);
    CHECK(server.wait()->code() == 0);
    CHECK(stopwatch.elapsed() >= milliseconds{700});
}

}  // namespace
}  // namespace e2e
