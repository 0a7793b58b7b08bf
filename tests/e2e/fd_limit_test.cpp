#include <poll.h>
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

/// Returns the connections that have something to read within `time`, by index.
std::vector<std::size_t> readable(const std::vector<Connection>& connections, milliseconds time) {
    std::vector<pollfd> entries;
    for (const Connection& connection : connections)
        entries.push_back({connection.fd(), POLLIN, 0});
    static_cast<void>(::poll(entries.data(), entries.size(), static_cast<int>(time.count())));
    std::vector<std::size_t> result;
    for (std::size_t i = 0; i < entries.size(); ++i)
        if (entries[i].revents != 0) result.push_back(i);
    return result;
}

/// Clients that have each said hello: those who wait for the answer and those who have got it.
struct Crowd {
    Crowd(const Endpoint& endpoint, std::size_t size) {
        for (std::size_t i = 0; i < size; ++i) {
            waiting.push_back(Connection::to(endpoint));
            waiting.back().send("hello");
        }
        collect_served();
    }

    /// Reads the answer of each that has one and counts it as served, until no more come.
    void collect_served() {
        for (auto ready = readable(waiting, milliseconds{300}); !ready.empty();
             ready = readable(waiting, milliseconds{300})) {
            for (std::size_t i = ready.size(); i-- > 0;) {
                Connection one = std::move(waiting[ready[i]]);
                waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(ready[i]));
                CHECK(one.receive(5) == "hello");
                served.push_back(std::move(one));
            }
        }
    }

    std::vector<Connection> waiting;
    std::vector<Connection> served;
};

TEST_CASE("at the descriptor limit a worker serves whom it has, rests, and takes the rest later") {
    constexpr std::size_t clients = 200;
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 1;
    config.open_files = 64;
    Server server{app, config, dir};
    const pid_t worker = server.wait_workers(1).front();
    Crowd crowd{server.at("echo"), clients};
    auto& [waiting, served] = crowd;
    REQUIRE(served.size() >= 8);
    REQUIRE(served.size() < 64);

    const std::uint64_t before = cpu_time_ms(worker);
    CHECK(readable(waiting, milliseconds{1'000}).empty());  // the second over which it must rest
    const std::uint64_t busy_ms = cpu_time_ms(worker) - before;
    CHECK(busy_ms <= 150);
    for (Connection& one : served) one.echo("those who are in are served");

    const Deadline deadline = later();
    std::size_t done = 0;
    while (!served.empty() && !deadline.expired()) {
        done += served.size();
        served.clear();  // makes room
        CHECK(readable(waiting, milliseconds{waiting.empty() ? 0 : 5'000}).empty() ==
              waiting.empty());
        crowd.collect_served();
    }
    CHECK(done == clients);
    CHECK(server.workers() == std::vector<pid_t>{worker});
}

TEST_CASE("a worker at the descriptor limit survives the death of its sibling, and reopened logs") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 2;
    config.open_files = 64;
    Server server{app, config, dir};
    const std::vector<pid_t> workers = server.wait_workers(2);
    Crowd crowd{server.at("echo"), 300};
    auto& [waiting, served] = crowd;
    REQUIRE(served.size() < 128);  // both are full, and the rest waits

    REQUIRE(::kill(workers[0], SIGKILL) == 0);
    server.log().wait_for("a command of the master was lost");  // the channel to the successor
    const std::size_t mark = server.log().mark();
    server.signal(SIGUSR1);
    server.log().wait_for("logs reopened", mark);
    CHECK(server.wait_workers(2).size() == 2);
    CHECK(is_running(workers[1]));
    std::size_t alive = 0;
    for (Connection& one : served)
        if (one.silent_for(milliseconds{0})) ++alive;
    CHECK(alive >= 8);  // the survivor's
}

TEST_CASE("files that a worker may open, and that are not enough, are warned of, to the file") {
    // Connections, pipes of relays, what a worker has besides, a zone, workers, TCP, UDP.
    constexpr int enough = 100 + 2 * 64 + 64 + 1 + 2 + 2 * 1 + 3 * 2;
    constexpr const char* warning = "worker.connections is 100, but a worker may open";
    for (const std::vector<std::string>& options : {std::vector<std::string>{}, {"--single"}}) {
        const TempDir dir;
        Config config;
        config.connections = 100;
        config.open_files = enough;
        config.listeners = {{}, {}};
        for (int i = 0; i < 3; ++i) config.listeners.push_back({.udp = true});
        config.more = "\n[[zone]]\nname = \"limits\"\nsize = \"64KiB\"\n";
        Server server{echo_app(), config, dir, nullptr, options};
        CHECK(server.log().find(warning).empty());
        config.open_files = enough - 1;
        server.write_config(config.text());
        server.reload();
        CHECK(server.log().find(warning).size() == 1);
    }
}

TEST_CASE("at its limit of connections a worker lets the others wait") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = 1;
    config.connections = 10;
    Server server{app, config, dir};
    Crowd crowd{server.at("echo"), 25};
    auto& [waiting, served] = crowd;
    CHECK(served.size() == 10);
    served.clear();
    crowd.collect_served();
    CHECK(served.size() == 10);
    served.clear();
    crowd.collect_served();
    CHECK(served.size() == 5);
}

}  // namespace
}  // namespace e2e
