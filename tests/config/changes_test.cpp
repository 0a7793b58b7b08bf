#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;

namespace {

std::vector<std::string> changes(const std::string& before, const std::string& after) {
    const config::Registry registry = services::registry();
    const auto old = config::parse({"t.toml", before}, registry);
    const auto now = config::parse({"t.toml", after}, registry);
    REQUIRE(old);
    REQUIRE(now);
    return config::changes(*old, *now, registry);
}

}  // namespace

TEST_CASE("a configuration does not differ from itself, however its defaults are written") {
    const std::string listener{fixture::listener};
    CHECK(changes(listener, listener).empty());
    CHECK(changes(listener, "[master]\nworkers = \"auto\"\n" + listener).empty());
}

TEST_CASE("values that differ are named with both, those of services too") {
    const std::string listener{fixture::listener};
    CHECK(changes("[master]\nworkers = 2\n" + listener,
                  "[log]\nlevel = \"debug\"\n[master]\nworkers = 4\n" + listener) ==
          std::vector<std::string>{"master.workers: 2 -> 4", "log.level: \"info\" -> \"debug\""});
    const auto of_service =
        changes(listener, listener + "[service.echo]\nidle_timeout_ms = 5000\n");
    REQUIRE(of_service.size() == 1);
    CHECK(of_service[0].starts_with("service.echo.idle_timeout_ms: "));
    CHECK(of_service[0].ends_with(" -> 5_000"));
}
