// Workers that do not answer, because they are stopped.
#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "kernel_sockets.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

Config impatient() {
    Config config;
    config.drain_timeout_ms = 200;
    config.ready_timeout_ms = 2'000;
    return config;
}

TEST_CASE("a reload kills an old worker that does not answer") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, impatient(), dir};
    const std::vector<pid_t> old = server.wait_workers(2);
    ::kill(old[0], SIGSTOP);
    static_cast<void>(server.reload());
    server.log().wait_for("did not end in time: killed");
    CHECK(eventually(soon(), [&] { return !is_running(old[0]); }));
    CHECK(server.wait_workers(2).size() == 2);
    Connection::to(server.at("echo")).echo("hello");
}

TEST_CASE("a worker that does not answer is killed when the server ends, which still exits 0") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, impatient(), dir};
    ::kill(server.wait_workers(2)[0], SIGSTOP);
    SECTION("TERM") {
        server.signal(SIGTERM);
    }
    SECTION("QUIT") {
        server.signal(SIGQUIT);
    }
    SECTION("INT") {
        server.signal(SIGINT);
    }
    const auto status = server.wait();
    REQUIRE(status);
    CHECK(status->code() == 0);
    CHECK(server.log().find("did not end in time: killed").size() == 1);
}

/// Reloads, and sends `number` to a new worker as soon as there is one. Returns its pid if that was
/// before it had reported ready; then the reload must fail.
std::optional<pid_t> reload_and_hit_starting_worker(Server& server, int number) {
    const std::size_t mark = server.log().mark();
    const std::vector<pid_t> old = server.workers();
    std::vector<pid_t> fresh;
    server.signal(SIGHUP);
    while (fresh.empty()) {
        fresh = server.workers();
        std::erase_if(fresh, [&](pid_t pid) { return std::ranges::count(old, pid) != 0; });
    }
    ::kill(fresh.back(), number);
    const auto has = [&](const char* part) { return !server.log().find(part, mark).empty(); };
    REQUIRE(eventually(later(), [&] {
        return has("reload failed") || (has("reload: generation") && has(" serves"));
    }));
    if (has("reload failed")) return fresh.back();
    ::kill(fresh.back(), SIGCONT);
    static_cast<void>(eventually(soon(), [&] { return server.workers().size() == old.size(); }));
    return std::nullopt;
}

TEST_CASE("a reload whose worker is stopped or killed before it is ready changes nothing") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = impatient();
    config.workers = 12;  // so that the last of them is caught before it is ready
    Server server{app, config, dir};
    int number = 0;
    std::string reason;
    SECTION("stopped") {
        number = SIGSTOP;
        reason = "a worker was not ready within master.ready_timeout_ms";
    }
    SECTION("killed") {
        number = SIGKILL;
        reason = "a worker ended before it was ready";
    }
    std::optional<pid_t> hit;
    std::vector<pid_t> old;
    for (int i = 0; i < 100 && !hit; ++i) {
        old = server.wait_workers(12);
        hit = reload_and_hit_starting_worker(server, number);
    }
    REQUIRE(hit);
    CHECK_FALSE(server.log().find("reload failed: " + reason).empty());
    CHECK(eventually(soon(), [&] { return !is_running(*hit); }));
    CHECK(server.wait_workers(12) == old);
    Connection::to(server.at("echo")).echo("hello");
    static_cast<void>(server.reload());
}

}  // namespace
}  // namespace e2e
