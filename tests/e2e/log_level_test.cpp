// The level of the log, changed while a server runs.
#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "log_file.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

/// What a worker logs of a connection that ends badly, at level debug.
constexpr const char* ended_badly = "connection ended:";

void end_badly(Server& server) {
    for (int i = 0; i < 8; ++i) {  // so that each worker has some
        Connection connection = Connection::to(server.at("echo"));
        connection.echo("hello");
        connection.reset();
    }
}

TEST_CASE("ctl log-level changes what master and workers log until the next reload") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.control = dir.file("control.sock");
    config.respawn_backoff_min_ms = 10;
    Server server{app, config, dir};
    const auto ctl = [&](std::vector<std::string> words) {
        return e2e::ctl(app, *config.control, std::move(words));
    };
    const auto silent = [&] {
        const std::size_t mark = server.log().mark();
        end_badly(server);
        // Served after the others by whichever worker: what they were to log is written by then.
        for (int i = 0; i < 20; ++i) Connection::to(server.at("echo")).echo("hello");
        return server.log().find(ended_badly, mark).empty();
    };
    const auto talks = [&] {
        const std::size_t mark = server.log().mark();
        end_badly(server);
        server.log().wait_for(ended_badly, mark);
        return true;
    };
    CHECK(silent());
    CHECK(ctl({"log-level", "debug"}).code == 0);
    CHECK(talks());
    const auto killed = server.workers();
    for (const pid_t pid : killed) ::kill(pid, SIGKILL);
    REQUIRE(eventually(soon(), [&] { return std::ranges::none_of(killed, is_running); }));
    static_cast<void>(server.wait_workers(2));
    CHECK(talks());  // so do their successors

    CHECK(ctl({"log-level", "error"}).code == 0);
    std::size_t mark = server.log().mark();
    server.signal(SIGUSR1);  // reopened logs keep the level
    CHECK(eventually(soon(), [&] { return ctl({"status"}).code == 0; }));
    CHECK(server.log().find("logs reopened", mark).empty());

    CHECK(ctl({"log-level", "configured"}).code == 0);
    mark = server.log().mark();
    server.signal(SIGUSR1);
    server.log().wait_for("logs reopened", mark);
    CHECK(silent());

    CHECK(ctl({"log-level", "debug"}).code == 0);
    CHECK(ctl({"reload"}).code == 0);
    CHECK(eventually(soon(), [&] { return server.workers().size() == 2; }));
    CHECK(silent());
    mark = server.log().mark();
    static_cast<void>(server.reload());  // of which the master would have much to say
    CHECK(server.log().find(" debug   [", mark).empty());

    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"log-level", "loud\x1b"}, {"log-level"}}) {
        const Finished refused = ctl(words);
        INFO(refused.text());
        CHECK(refused.code == 1);
        CHECK(refused.error.find("there are debug, info, warning, error, and configured") !=
              std::string::npos);
        CHECK(refused.error.find('\x1b') == std::string::npos);
    }
}

}  // namespace
}  // namespace e2e
