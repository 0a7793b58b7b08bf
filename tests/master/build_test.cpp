// Part of the module, to see what it keeps to itself: timing_of and worker_count.
module;
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../temp_dir.h"
module ringfort.master;

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;

using namespace ringfort;

namespace {

config::Settings listening_on(const std::string& address) {
    config::Settings settings;
    settings.listeners.emplace_back();
    settings.listeners.back().address = Address::parse(address).value();
    settings.listeners.back().service = "echo";
    return settings;
}

master::Application application() {
    return {.name = "test",
            .read = {},
            .parse = {},
            .zones = [](const config::Settings&) { return std::vector<cycle::ZoneRequest>{}; },
            .worker = {}};
}

/// A listening socket of somebody else.
struct Somebody {
    Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    Address address;
    Somebody() {
        const auto any = Address::parse("127.0.0.1:0").value();
        ensure(::bind(socket.get(), any.data(), any.size()) == 0, "bind");
        ensure(::listen(socket.get(), 1) == 0, "listen");
        address = Address::of_socket(socket.get()).value();
    }
};

}  // namespace

TEST_CASE("the policy's limits are those of the settings") {
    config::Settings settings;
    settings.master.ready_timeout = Milliseconds{1};
    settings.master.drain_timeout = Milliseconds{2};
    settings.master.kill_timeout = Milliseconds{3};
    settings.master.respawn_backoff_min = Milliseconds{4};
    settings.master.respawn_backoff_max = Milliseconds{5};
    settings.master.respawn_healthy = Milliseconds{6};
    settings.master.respawn_budget = 7;
    settings.master.shutdown_delay = Milliseconds{8};
    const master::Timing timing = master::timing_of(settings);
    CHECK(timing.ready_timeout.count() == 1);
    CHECK(timing.drain_timeout.count() == 2);
    CHECK(timing.kill_timeout.count() == 3);
    CHECK(timing.backoff_min.count() == 4);
    CHECK(timing.backoff_max.count() == 5);
    CHECK(timing.healthy.count() == 6);
    CHECK(timing.respawn_budget == 7);
    CHECK(timing.shutdown_delay.count() == 8);
}

TEST_CASE("there are as many workers as configured, or as processors") {
    config::Settings settings;
    CHECK(master::worker_count(settings) ==
          std::min(process::available_cpus(), limits::max_workers));
    settings.master.workers.number = 3;
    CHECK(master::worker_count(settings) == 3);
    settings.master.workers.number = limits::max_workers + 1;
    CHECK(master::worker_count(settings) == limits::max_workers);
}

TEST_CASE("trying a cycle takes everything down again") {
    const Somebody other;
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    CHECK(master::try_cycle(application(), listening_on("unix:" + path)).empty());
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK(master::try_cycle(application(), listening_on("127.0.0.1:0")).empty());
}

TEST_CASE("trying a cycle tells all its obstacles") {
    const Somebody other;
    auto settings = listening_on(other.address.text());
    settings.master.user = "no-such-user-of-ringfort";
    settings.zones.push_back({.name = "tiny", .size = Bytes{1}});
    const auto obstacles = master::try_cycle(application(), settings);
    REQUIRE(obstacles.size() == 3);
    CHECK(obstacles[0].find("no-such-user-of-ringfort") != std::string::npos);
    CHECK(obstacles[1].find("zone tiny") != std::string::npos);
    CHECK(obstacles[2].find(other.address.text()) != std::string::npos);
}

TEST_CASE("trying the cycle of a running master finds its address taken, and says nothing") {
    const Somebody running;
    auto settings = listening_on(running.address.text());
    const testing::TempDir directory;
    settings.master.pid_file = directory.file("pid");
    CHECK(master::try_cycle(application(), settings).size() == 1);
    {
        const auto file = process::PidFile::create(settings.master.pid_file);
        REQUIRE(file);
        CHECK(master::try_cycle(application(), settings).empty());
    }
    CHECK(master::try_cycle(application(), settings).size() == 1);
    CHECK_FALSE(std::filesystem::exists(settings.master.pid_file));
}
