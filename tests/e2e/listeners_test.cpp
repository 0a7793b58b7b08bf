// Listeners that come, go and stay.
#include <signal.h>
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
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
#include "kernel_sockets.h"
#include "load.h"
#include "server.h"

namespace e2e {
namespace {

TEST_CASE("a reload adds and removes listeners and leaves the others open throughout") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string first_path = dir.file("first.sock");
    const std::string second_path = dir.file("second.sock");
    Config config;
    config.listeners = {{"127.0.0.1:0"}, {"127.0.0.2:0"}, {"unix:" + first_path}};
    Server server{app, config, dir};
    const Endpoint kept = server.at("echo", "127.0.0.1");
    const Endpoint removed = server.at("echo", "127.0.0.2");
    const auto kept_inode = listeners_at(kept);
    Load load{kept, 2};
    Connection held = Connection::to(removed);
    held.echo("hello");

    config.listeners = {{"127.0.0.1:0"}, {"127.0.0.3:0"}, {"unix:" + second_path}};
    server.write_config(config.text());
    static_cast<void>(server.reload());
    CHECK(listeners_at(kept) == kept_inode);
    CHECK(eventually(soon(), [&] { return refuses(removed); }));
    held.echo("what was accepted there may finish");
    Connection::to(server.at("echo", "127.0.0.3")).echo("hello");
    Connection::to(Endpoint::parse("unix:" + second_path)).echo("hello");
    CHECK(eventually(soon(), [&] { return !std::filesystem::exists(first_path); }));
    CHECK(load.wait_for_more(20));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("the file of a unix socket survives reloads and is gone after the end") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string path = dir.file("echo.sock");
    Config config;
    config.listeners = {{"unix:" + path}};
    std::optional<Server> server{std::in_place, app, config, dir};
    struct stat before{};
    REQUIRE(::stat(path.c_str(), &before) == 0);
    Load load{Endpoint::parse("unix:" + path), 2};
    const std::vector<pid_t> old = server->workers();
    static_cast<void>(server->reload());
    static_cast<void>(server->wait_workers(2));  // the old generation has gone
    CHECK(server->workers() != old);
    struct stat after{};
    REQUIRE(::stat(path.c_str(), &after) == 0);
    CHECK(before.st_ino == after.st_ino);
    CHECK(load.wait_for_more(20));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
    server.reset();
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("the socket file of a crashed run is replaced, that of a live server is respected") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string path = dir.file("echo.sock");
    Config config;
    config.listeners = {{"unix:" + path}};
    std::optional<Server> crashed{std::in_place, app, config, dir};
    crashed->kill_all();
    crashed.reset();
    REQUIRE(std::filesystem::exists(path));

    Server server{app, config, dir};
    const Endpoint endpoint = Endpoint::parse("unix:" + path);
    Connection::to(endpoint).echo("replaced");

    write_file(dir.file("second.toml"), config.text());
    for (const auto& argv : {std::vector<std::string>{app, "-c", dir.file("second.toml")},
                             {app, "-t", "-c", dir.file("second.toml")}}) {
        const Finished second = run(argv);
        INFO(second.text());
        CHECK(second.code == 1);
        CHECK(second.error.find(path) != std::string::npos);
        CHECK(std::filesystem::exists(path));
        Connection::to(endpoint).echo("unharmed");
    }
}

TEST_CASE("a file that is no socket is never removed to make room for one") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string path = dir.file("precious");
    write_file(path, "data");
    Config config;
    config.listeners = {{"unix:" + path}};
    write_file(dir.file("config.toml"), config.text());
    const Finished finished = run({app, "-c", dir.file("config.toml")});
    INFO(finished.text());
    CHECK(finished.code == 1);
    CHECK(finished.error.find(path) != std::string::npos);
    CHECK(read_file(path) == "data");
}

TEST_CASE("a start that fails at the second listener leaves nothing of the first") {
    const std::string app = echo_app();
    const TempDir dir;
    const OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
    Config config;
    config.listeners = {{"unix:" + dir.file("echo.sock")},
                        {Endpoint::of_socket(taken.get()).text()}};
    write_file(dir.file("config.toml"), config.text());
    CHECK(run({app, "-c", dir.file("config.toml")}).code == 1);
    CHECK_FALSE(std::filesystem::exists(dir.file("echo.sock")));
}

TEST_CASE("a port is taken over at once by the next start, connections in TIME_WAIT or not") {
    const std::string app = echo_app();
    const TempDir dir;
    std::optional<Endpoint> at;
    for (int i = 0; i < 3; ++i) {
        Config config;
        if (at) config.listeners = {{at->text()}};
        config.drain_timeout_ms = 100;
        Server server{app, config, dir};
        at = server.at("echo");
        Connection held = Connection::to(*at);
        held.echo("hello");
        server.signal(SIGTERM);  // the server closes first: its end goes into TIME_WAIT
        static_cast<void>(held.wait_gone());
        CHECK(server.wait().value().code() == 0);
    }
}

}  // namespace
}  // namespace e2e
