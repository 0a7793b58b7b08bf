#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "kernel_sockets.h"
#include "load.h"
#include "processes.h"
#include "server.h"
#include "upstream.h"

namespace e2e {
namespace {

std::vector<pid_t> without(std::vector<pid_t> all, const std::vector<pid_t>& some) {
    std::erase_if(
        all, [&](pid_t pid) { return std::find(some.begin(), some.end(), pid) != some.end(); });
    return all;
}

bool all_gone(const std::vector<pid_t>& pids) {
    return std::none_of(pids.begin(), pids.end(), is_running);
}

struct LongLived {
    Connection connection;
    std::vector<pid_t> workers;  ///< the generation that accepted it
};

/// Reloads again and again under load. Each generation gets connections that outlive the next one
/// and must go on working until they are closed; then their workers must go.
void reload_under_load(Server& server, const Endpoint& endpoint, int workers) {
    constexpr int reloads = 12;
    Load load{endpoint};
    REQUIRE(load.wait_for_more(50));
    std::deque<LongLived> held;
    std::vector<pid_t> current = server.wait_workers(static_cast<std::size_t>(workers));
    int generation = 1;
    for (int i = 0; i < reloads; ++i) {
        for (int j = 0; j < 2; ++j) {
            held.push_back({Connection::to(endpoint), current});
            held.back().connection.echo("before the reload");
        }
        const std::vector<pid_t> before = server.workers();
        const int next = server.reload();
        CHECK(next > generation);
        generation = next;
        current = without(server.workers(), before);
        CHECK(current.size() == static_cast<std::size_t>(workers));
        for (LongLived& old : held) old.connection.echo("after the reload");
        CHECK(load.wait_for_more(30));
        while (held.size() > 2) {
            LongLived oldest = std::move(held.front());
            held.pop_front();
            oldest.connection.echo("last words");
            oldest.connection.shutdown_write();
            oldest.connection.expect_end();
            if (held.empty() || held.front().workers != oldest.workers)
                CHECK(eventually(soon(), [&] { return all_gone(oldest.workers); }));
        }
    }
    held.clear();
    CHECK(eventually(soon(),
                     [&] { return server.workers().size() == static_cast<std::size_t>(workers); }));
    CHECK(load.wait_for_more(50));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

// The kernel may have woken, for one connection, only the accept that a draining worker cancels.
TEST_CASE("a lone connection at the moment of a reload is answered") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 2;
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    for (int i = 0; i < 60; ++i) {
        server.reload();
        Connection::to(endpoint).echo("one");
    }
}

TEST_CASE("twelve reloads under load fail no connection, and each old generation goes") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.drain_timeout_ms = 60'000;
    Server server{app, config, dir};
    reload_under_load(server, server.at("echo"), config.workers);
}

TEST_CASE("twelve reloads of a proxy under load fail no connection") {
    const std::string app = proxy_app();
    const TempDir dir;
    Config config;
    config.drain_timeout_ms = 60'000;
    const std::string echo = "unix:" + dir.file("echo.sock");
    config.listeners = {{"127.0.0.1:0", "proxy"}, {echo, "echo"}};
    config.upstreams = {echo};
    Server server{app, config, dir};
    reload_under_load(server, server.at("proxy"), config.workers);
}

TEST_CASE("a reload changes the number of workers up and down") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 1;
    Server server{app, config, dir};
    Load load{server.at("echo"), 2};
    for (const int workers : {4, 1, 3}) {
        config.workers = workers;
        server.write_config(config.text());
        static_cast<void>(server.reload());
        CHECK(server.wait_workers(static_cast<std::size_t>(workers)).size() ==
              static_cast<std::size_t>(workers));
        CHECK(load.wait_for_more(20));
    }
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("a reload takes up a changed setting of a service") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    Server server{app, config, dir};
    config.echo_idle_timeout_ms = 200;
    server.write_config(config.text());
    static_cast<void>(server.reload());
    static_cast<void>(server.wait_workers(2));  // those who know only the old setting have gone
    Connection client = Connection::to(server.at("echo"));
    client.echo("hello");
    CHECK(client.wait_gone() == Ending::eof);
}

/// Returns a connection that none of `old` has taken: they may until they hear that they drain.
Connection connect_to_others(Server& server, const std::vector<pid_t>& old) {
    while (true) {
        Connection connection = Connection::to(server.at("echo"));
        connection.echo("hello");
        if (!holder_of_peer(connection.fd(), old)) return connection;
    }
}

TEST_CASE("the drain timeout ends what keeps an old generation alive, and nothing newer") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.drain_timeout_ms = 300;
    Server server{app, config, dir};
    const std::vector<pid_t> old = server.workers();
    Connection stubborn = Connection::to(server.at("echo"));
    stubborn.echo("I stay");
    static_cast<void>(server.reload());
    Connection newer = connect_to_others(server, old);
    static_cast<void>(stubborn.wait_gone());
    CHECK(eventually(soon(), [&] { return all_gone(old); }));
    newer.echo("still here");
}

TEST_CASE("a lone client is served at once, whatever the moment of a reload it comes at") {
    // The kernel tells one worker of a connection. If that one is just about to drain, and nobody
    // connects after, nobody else may ever look: heavier load hides it.
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, {}, dir};
    constexpr int reloads = 80 / slow_factor;
    for (int i = 0; i < reloads; ++i) {
        const std::vector<pid_t> old = server.workers();
        server.signal(SIGHUP);
        while (!all_gone(old))
            Connection::to(server.at("echo")).echo("hi", Deadline::after(milliseconds{2'000}));
    }
}

TEST_CASE("many HUPs at once end in one generation that serves") {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, {}, dir};
    Load load{server.at("echo"), 2};
    const std::size_t mark = server.log().mark();
    for (int i = 0; i < 50; ++i) server.signal(SIGHUP);
    server.log().wait_for("reload: generation", mark, later());
    CHECK(load.wait_for_more(20));
    static_cast<void>(server.reload());
    CHECK(server.wait_workers(2).size() == 2);
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

}  // namespace
}  // namespace e2e
