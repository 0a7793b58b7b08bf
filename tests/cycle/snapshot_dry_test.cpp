// Builds that are to be given up: they leave no trace in what the cycle before has.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <compare>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.shm;

#include "surroundings.h"

using namespace ringfort;
using cycle::Built;
using cycle::Cycle;

namespace {

bool others_may_join(const Fd& socket) {
    int may = -1;
    socklen_t size = sizeof may;
    REQUIRE(::getsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &may, &size) == 0);
    return may != 0;
}

/// Binds beside a listener as a stranger of this user could; returns 0 or the error number.
int join(const Address& address) {
    const Fd stranger{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const int yes = 1;
    REQUIRE(::setsockopt(stranger.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0);
    REQUIRE(::setsockopt(stranger.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) == 0);
    return ::bind(stranger.get(), address.data(), address.size()) == 0 ? 0 : errno;
}

}  // namespace

TEST_CASE("a dry build makes, copies and prepares no zone, and waits for no pool's lock") {
    config::Settings settings;
    settings.zones = {{.name = "grows", .size = {65'536}},
                      {.name = "same", .size = {65'536}},
                      {.name = "fresh", .size = {65'536}}};
    const Built old = Cycle::build(settings, 1, {}, {});
    REQUIRE(old.cycle);
    const auto pool = shm::Pool::keep(*old.cycle->zones()[0]).value();
    const shm::Transaction somebody_holds_the_lock = pool.begin().value();
    settings.zones[0].size = {131'072};
    int prepared = 0;
    const auto prepare = [&](const shm::Pool&, const shm::Pool*) -> Result<void> {
        ++prepared;
        return {};
    };
    const std::vector<cycle::ZoneRequest> requests{
        {.name = "grows", .prepare = prepare},
        {.name = "fresh", .reuse = false, .prepare = prepare},
        {.name = "new", .tag = "new/1", .size = Bytes{64ULL << 30}, .prepare = prepare}};
    const auto before = testing::open_descriptors();
    const Built dry = Cycle::build(settings, 2, old.cycle->stock(), requests, {.dry = true});
    REQUIRE(dry.cycle);
    CHECK(testing::open_descriptors() == before);
    CHECK(prepared == 0);
    CHECK(dry.cycle->zones() == std::vector{old.cycle->zones()[1]});
    REQUIRE(dry.cycle->zone_fates().size() == 4);
    CHECK(dry.cycle->zone_fates()[0].text == "grown, 64KiB -> 128KiB");
    CHECK(dry.cycle->zone_fates()[1].text == "kept");
    CHECK(dry.cycle->zone_fates()[3].text == "opened, filled by its service");
}

TEST_CASE("a dry build finds what would keep zones from being made") {
    config::Settings settings;
    settings.zones = {{.name = "full", .size = {65'536}}, {.name = "fits", .size = {65'536}}};
    const Built old = Cycle::build(settings, 1, {}, {});
    REQUIRE(old.cycle);
    settings.zones[0].size = {131'072};
    for (const bool dry : {true, false}) {
        const Built next =
            Cycle::build(settings, 2, old.cycle->stock(), {{.name = "no", .tag = "no/1"}},
                         {.open_pool = [](shm::Zone& zone) { return shm::Pool::keep(zone); },
                          .max_grown_content = Bytes{1'024},
                          .dry = dry});
        CHECK_FALSE(next.cycle);
        REQUIRE(next.obstacles.size() == 2);
        CHECK(next.obstacles[0].find("zone no: ") == 0);
        CHECK(next.obstacles[1].find("zone full: more than 1KiB are in use") == 0);
    }
}

TEST_CASE("a dry build with reuseport switched on lets nobody join the listener that there is") {
    config::Settings settings;
    settings.listeners.push_back(testing::listener("127.0.0.1:0"));
    const Built old = Cycle::build(settings, 1, {}, {});
    REQUIRE(old.cycle);
    const cycle::Listener& live = old.cycle->bindings()[0].first();
    settings.listeners[0].reuseport = true;
    {
        const Built dry =
            Cycle::build(settings, 2, old.cycle->stock(), {}, {.workers = 3, .dry = true});
        REQUIRE(dry.cycle);
        CHECK(dry.cycle->bindings()[0].listeners.size() == 3);
        CHECK_FALSE(others_may_join(live.socket()));
    }
    CHECK_FALSE(others_may_join(live.socket()));
    CHECK(join(live.bound()) == EADDRINUSE);
    CHECK(testing::connect_to(live.bound()) == 0);
}

TEST_CASE("what a dry build opens at addresses of its own is really opened, and told of") {
    config::Settings settings;
    const testing::TempDir directory;
    settings.listeners.push_back(testing::listener("127.0.0.1:0"));
    settings.listeners[0].reuseport = true;
    settings.listeners.push_back(testing::listener("unix:" + directory.file("socket")));
    std::size_t opened = 0;
    {
        const Built dry = Cycle::build(
            settings, 1, {}, {},
            {.workers = 2, .opened = [&](const cycle::Listener&) { ++opened; }, .dry = true});
        REQUIRE(dry.cycle);
        CHECK(opened == 3);
        for (const auto& binding : dry.cycle->bindings())
            CHECK(testing::connect_to(binding.first().bound()) == 0);
    }
    CHECK(directory.entries() == 0);
}
