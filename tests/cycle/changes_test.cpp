#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <functional>
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
using cycle::Cycle;

namespace {

std::unique_ptr<Cycle> built(config::Settings settings, const Cycle* old = nullptr,
                             const std::vector<cycle::ZoneRequest>& requests = {},
                             bool dry = false) {
    const cycle::OpenPool open = [](shm::Zone& zone) { return shm::Pool::keep(zone); };
    auto result =
        Cycle::build(std::move(settings), 1, old == nullptr ? cycle::Stock{} : old->stock(),
                     requests, {.open_pool = dry ? cycle::OpenPool{} : open, .dry = dry});
    INFO((result.obstacles.empty() ? "" : result.obstacles.front()));
    REQUIRE(result.cycle);
    return std::move(result.cycle);
}

std::string all(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line + '\n';
    return text;
}

}  // namespace

TEST_CASE("a cycle that changes nothing keeps everything") {
    config::Settings same;
    same.listeners.push_back(testing::listener("unix:@ringfort-changes-same"));
    same.zones.push_back({.name = "table", .size = {131'072}});
    const auto first = built(same);
    const auto second = built(same, first.get());
    const std::string service = same.listeners[0].service;
    CHECK(all(cycle::changes(*first, *second)) ==
          "listener unix:@ringfort-changes-same (" + service + "): kept\nzone table: kept\n");
}

TEST_CASE("what is opened, closed, replaced and changed is told apart") {
    config::Settings old;
    old.listeners.push_back(testing::listener("unix:@ringfort-changes-a"));
    old.listeners.push_back(testing::listener("unix:@ringfort-changes-b"));
    old.listeners[1].service = "first";
    old.listeners[1].backlog = 10;
    old.zones = {{.name = "gone", .size = {65'536}},
                 {.name = "grows", .size = {65'536}},
                 {.name = "passes", .size = {65'536}},
                 {.name = "shrinks", .size = {131'072}}};
    config::Settings next;
    next.listeners.push_back(testing::listener("unix:@ringfort-changes-b"));
    next.listeners.push_back(testing::listener("unix:@ringfort-changes-c"));
    next.listeners[0].service = "second";
    next.listeners[0].backlog = 20;
    next.zones = {{.name = "grows", .size = {131'072}},
                  {.name = "new", .size = {65'536}},
                  {.name = "passes", .size = {131'072}, .noreuse = true},
                  {.name = "shrinks", .size = {65'536}}};
    const auto first = built(old);
    const auto second = built(next, first.get());
    const std::string text = all(cycle::changes(*first, *second));
    INFO(text);
    const std::string other = " (" + old.listeners[0].service + ")";
    CHECK(text ==
          "listener unix:@ringfort-changes-b (second): kept, service was first, backlog 10 -> 20\n"
          "listener unix:@ringfort-changes-c" +
              other +
              ": opened\n"
              "listener unix:@ringfort-changes-a" +
              other +
              ": closed\n"
              "zone grows: grown, 64KiB -> 128KiB\n"
              "zone new: opened, empty\n"
              "zone passes: replaced by an empty one: it is not to be reused\n"
              "zone shrinks: replaced by an empty one: it becomes smaller, 128KiB -> 64KiB\n"
              "zone gone: closed\n");
}

TEST_CASE("what services say of zones is told as it is, by a dry run as by a reload") {
    config::Settings old;
    old.zones = {{.name = "fresh", .size = {65'536}}};
    config::Settings next;
    next.zones = {{.name = "fresh", .size = {131'072}}};
    const auto first =
        built(old, nullptr, {{.name = "fresh", .reuse = false}, {.name = "own", .size = {65'536}}});
    const std::vector<cycle::ZoneRequest> requests{{.name = "fresh", .reuse = false},
                                                   {.name = "own", .size = {131'072}}};
    for (const bool dry : {true, false}) {
        const auto second = built(next, first.get(), requests, dry);
        CHECK(all(cycle::changes(*first, *second)) ==
              "zone fresh: replaced by an empty one: it is not to be reused\n"
              "zone own: grown, 64KiB -> 128KiB\n");
        CHECK(second->zones().size() == (dry ? 0 : 2));
    }
}
