// A service manager, as systemd is one, and what it is told by a server.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "notify_socket.h"
#include "server.h"

namespace e2e {
namespace {

/// Its socket, in the environment of what is started while it lives.
class Manager {
public:
    explicit Manager(const std::string& path) : socket_{path} {
        ::setenv("WATCHDOG_USEC", "2000000", 1);
    }
    ~Manager() { ::unsetenv("WATCHDOG_USEC"); }
    Manager(const Manager&) = delete;

    /// Returns the next message but signs of life; empty when none comes in time.
    [[nodiscard]] std::string next() const {
        const auto deadline = later();
        std::string message;
        do message = any();
        while (message == "WATCHDOG=1" && !deadline.expired());
        return message;
    }
    [[nodiscard]] std::string any() const { return socket_.receive(5'000).text; }

private:
    NotifySocket socket_;
};

TEST_CASE("a service manager learns of readiness, reloads, failures, life and the end") {
    const std::string app = echo_app();
    const TempDir dir;
    const Manager manager{dir.file("notify")};
    Server server{app, Config{}, dir};
    CHECK(manager.next() == "READY=1\nSTATUS=generation 1 serves, 2 workers");
    server.reload();
    CHECK(manager.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    CHECK(manager.next() == "READY=1\nSTATUS=generation 2 serves, 2 workers");
    const std::string good = read_file(server.config_path());
    server.write_config("[master]\nworkers = 0\n");
    static_cast<void>(server.reload_expecting_failure());
    CHECK(manager.next().starts_with("RELOADING=1\n"));
    const std::string failed = manager.next();
    CHECK(failed.starts_with("READY=1\nSTATUS=generation 2 serves on; the last reload failed: "));
    CHECK(failed.find('\n', failed.find('\n') + 1) == std::string::npos);
    CHECK(manager.any() == "WATCHDOG=1");
    CHECK(manager.any() == "WATCHDOG=1");
    Connection::to(server.at("echo")).echo("hello");
    server.signal(SIGTERM);
    CHECK(manager.next() == "STOPPING=1\nSTATUS=drains or stops");
    CHECK(server.wait()->code() == 0);
}

TEST_CASE("a service manager that was told of the end hears of nothing else") {
    const TempDir dir;
    const Manager manager{dir.file("notify")};
    Config config;
    config.shutdown_delay_ms = 1'000;
    Server server{echo_app(), config, dir};
    CHECK(manager.next().starts_with("READY=1\n"));
    const std::size_t mark = server.log().mark();
    server.signal(SIGHUP);
    server.log().wait_for("reload: reading the configuration", mark);
    server.signal(SIGTERM);
    std::string last = manager.next();
    CHECK(last.starts_with("RELOADING=1\n"));
    last = manager.next();
    if (last.starts_with("READY=1\n")) last = manager.next();  // the reload was faster
    CHECK(last == "STOPPING=1\nSTATUS=is about to drain");
    CHECK(server.wait()->code() == 0);
    for (std::string more = manager.any(); !more.empty(); more = manager.any())
        CHECK(more == "WATCHDOG=1");
}

}  // namespace
}  // namespace e2e
