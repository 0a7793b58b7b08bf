// More orders than can be carried out.
#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <string>
#include <thread>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "load.h"
#include "server.h"

namespace e2e {
namespace {

TEST_CASE("200 HUPs in a second fail no connection and pile up no generations") {
    constexpr int hups = 200;
    constexpr std::size_t workers = 2;
    constexpr std::size_t generations = 4;  // max_generations
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = workers;
    Server server{app, config, dir};
    const Endpoint echo = server.at("echo");
    Load load{echo};
    REQUIRE(load.wait_for_more(50));
    std::size_t most = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < hups; ++i) {
        server.signal(SIGHUP);
        most = std::max(most, server.workers().size());
        std::this_thread::sleep_until(begin + milliseconds{5} * (i + 1));
    }
    CHECK(most <= (generations + 1) * workers);
    // The last one asked for is carried out; then it is quiet again.
    const int generation = server.reload();
    CHECK(generation > 2);
    CHECK(generation <= hups + 2);
    CHECK(server.wait_workers(workers).size() == workers);
    CHECK(load.wait_for_more(50));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
    CHECK(server.log().find("reload failed").empty());
    CHECK(server.log().find("killed").empty());
    CHECK(server.log().find("connections are cut").empty());
    Connection::to(echo).echo("hello");
}

}  // namespace
}  // namespace e2e
