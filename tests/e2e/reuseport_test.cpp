// Listeners with a socket for each worker: what becomes of connections when there are fewer
// workers, or one that does not serve.
#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <utility>
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

namespace e2e {
namespace {

Config with_reuseport(int workers) {
    Config config;
    config.workers = workers;
    config.listeners = {{.reuseport = true}};
    return config;
}

/// Connects that many clients, some to each socket; none of them asks for anything yet.
std::vector<Connection> connect(const Endpoint& endpoint, int count) {
    std::vector<Connection> clients;
    for (int i = 0; i < count; ++i) clients.push_back(Connection::to(endpoint));
    return clients;
}

void all_are_served(std::vector<Connection>& clients, milliseconds within) {
    const Deadline deadline = Deadline::after(within);
    for (Connection& client : clients) client.send("hello");
    for (Connection& client : clients) CHECK(client.receive(5, deadline) == "hello");
}

TEST_CASE("8 -> 4 -> 8 workers with reuseport under load fail no connection") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_reuseport(4);
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    Load load{endpoint};
    REQUIRE(load.wait_for_more(50));
    std::size_t mark = 0;
    for (const int workers : {8, 4, 8, 4}) {  // the sockets of the first eight are new
        mark = server.log().mark();
        // What waits for the worker of the highest slot, nobody but others can serve.
        const pid_t stopped = server.worker(workers == 4 ? 7 : 3);
        stop(stopped);
        std::vector<Connection> waiting = connect(endpoint, 64);
        config.workers = workers;
        server.write_config(config.text());
        static_cast<void>(server.reload());
        all_are_served(waiting, milliseconds{4'000});
        waiting.clear();
        REQUIRE(::kill(stopped, SIGCONT) == 0);
        CHECK(server.wait_workers(static_cast<std::size_t>(workers)).size() ==
              static_cast<std::size_t>(workers));
        CHECK(load.wait_for_more(50));
    }
    server.log().wait_for("sockets of workers that are no more: 4 closed", mark);
    CHECK(listeners_at(endpoint).size() == 4);
    CHECK(load.wait_for_more(50));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("reuseport is switched on and off under load without a failed connection") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_reuseport(3);
    config.listeners[0].reuseport = false;
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    Load load{endpoint};
    for (const bool reuseport : {true, false, true}) {
        stop(server.worker(2));
        std::vector<Connection> waiting = connect(endpoint, 24);
        config.listeners[0].reuseport = reuseport;
        server.write_config(config.text());
        static_cast<void>(server.reload());
        all_are_served(waiting, milliseconds{4'000});
        waiting.clear();
        for (const pid_t pid : server.workers()) ::kill(pid, SIGCONT);
        CHECK(server.wait_workers(3).size() == 3);
        CHECK(load.wait_for_more(50));
    }
    CHECK(listeners_at(endpoint).size() == 3);
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("reloads that fail to start more workers lose no connection") {
    const std::string app = spin_app();
    const TempDir dir;
    Config config = with_reuseport(2);
    config.listeners[0].service = "spin";
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("spin");
    Load load{endpoint};
    REQUIRE(load.wait_for_more(50));
    config.workers = 8;
    server.write_config(config.text() + "\n[service.spin]\nrefuses = true\n");
    for (int i = 0; i < 2; ++i) {
        CHECK(server.reload_expecting_failure().find("ended before it was ready") !=
              std::string::npos);
        CHECK(load.wait_for_more(20));
    }
    CHECK(listeners_at(endpoint).size() == 2);
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("the socket of a killed worker is served by a sibling until its successor comes") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_reuseport(3);
    config.respawn_backoff_min_ms = 1'500;
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    const pid_t victim = server.worker(1);
    stop(victim);  // so that some wait in its queue when it dies
    std::vector<Connection> waiting = connect(endpoint, 32);
    REQUIRE(::kill(victim, SIGKILL) == 0);
    for (Connection& client : connect(endpoint, 32)) waiting.push_back(std::move(client));
    all_are_served(waiting, milliseconds{1'200});
    server.log().wait_for("stands in for slot 1");
    CHECK(server.wait_workers(3, later()).size() == 3);
    std::vector<Connection> after = connect(endpoint, 32);
    all_are_served(after, milliseconds{4'000});
}

TEST_CASE("the socket of a stopped worker is served by a sibling, and given back when it goes on") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config = with_reuseport(3);
    config.watchdog_ms = 2'000;
    Server server{app, config, dir};
    const Endpoint endpoint = server.at("echo");
    const std::vector<pid_t> workers = server.wait_workers(3);
    const pid_t stopped = server.worker(1);
    stop(stopped);
    std::vector<Connection> waiting = connect(endpoint, 32);
    all_are_served(waiting, milliseconds{4'000});  // half of the watchdog's time, on a busy machine
    REQUIRE(::kill(stopped, SIGCONT) == 0);
    // Until it has its socket back for itself, the sibling may be faster.
    int tries = 0;
    const bool goes_on = eventually(later(), [&] {
        ++tries;
        Connection client = Connection::to(endpoint);
        client.echo("hello");
        return holder_of_peer(client.fd(), {stopped}).has_value();
    });
    INFO(tries << " tries; " << server.log().text());
    CHECK(goes_on);
    CHECK(server.workers() == workers);
}

TEST_CASE("with reuseport connections are shared out evenly, on both drivers") {
    constexpr int connections = 400;
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, with_reuseport(4), dir};
    const std::vector<pid_t> workers = server.wait_workers(4);
    const std::vector<std::size_t> before = settled_files(workers);
    std::vector<Connection> held = connect(server.at("echo"), connections);
    all_are_served(held, milliseconds{4'000});
    int sum = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        const int count = static_cast<int>(open_files(workers[i]).size() - before[i]);
        CHECK(count * 4 >= connections / 2);
        CHECK(count * 4 <= connections * 3 / 2);
        sum += count;
    }
    CHECK(sum == connections);
}

}  // namespace
}  // namespace e2e
