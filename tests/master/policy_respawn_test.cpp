// The policy of respawns: when a worker that has ended is started again, and what that may cost.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

import ringfort.base;
import ringfort.master;

#include "story.h"

using namespace ringfort;
using testing::Story;

TEST_CASE("the back-off doubles with every failure in a row, up to its limit") {
    const auto seed = GENERATE(range(std::uint64_t{0}, std::uint64_t{50}));
    Story story{seed};
    story.serve();
    std::uint32_t failure = 0;
    for (const std::int64_t delay : {100, 200, 400, 800, 900, 900}) {
        INFO(delay);
        CHECK(story.exited(1) == "postpone 1/0 (failure " + std::to_string(++failure) + ")");
        const std::int64_t waits = story.sleep();
        CHECK(waits <= delay);
        CHECK(waits >= std::max<std::int64_t>(delay / 2, 100));
        CHECK(story.after(waits - 1) == "");
        CHECK(story.after(1) == "spawn 1/0");
        (void)story.ready(1);
    }
}

TEST_CASE("workers that fail together are respawned apart, and those of two masters as well") {
    constexpr std::uint32_t workers = 16;
    const auto delays = [](std::uint64_t seed) {
        Story story{seed};
        story.serve(workers);
        std::vector<std::int64_t> all;
        for (std::uint32_t slot = 0; slot < workers; ++slot) (void)story.exited(1, slot);
        (void)story.after(100);
        for (std::uint32_t slot = 0; slot < workers; ++slot) (void)story.exited(1, slot);
        for (std::int64_t passed = 0; story.policy().next_deadline();) {
            passed += story.sleep();
            const std::string spawned = story.after(story.sleep());
            const auto count = std::ranges::count(spawned, '/');
            all.insert(all.end(), static_cast<std::size_t>(count), passed);
            if (all.size() >= workers) break;
        }
        return all;
    };
    const auto mine = delays(1);
    CHECK(std::set<std::int64_t>{mine.begin(), mine.end()}.size() > workers / 2);
    CHECK(mine == delays(1));
    CHECK(mine != delays(2));
}

TEST_CASE("failures in a row are paid for from a budget, and without it each waits long") {
    Story story;
    story.afford(3);
    story.serve(2);
    const auto fails = [&](std::uint32_t slot) {
        const std::string answer = story.exited(1, slot);
        return answer.substr(answer.find("postpone"));
    };
    const auto left = [&] { return story.policy().status(story.time()).at(0).respawn_budget; };
    const auto back = [&] {
        (void)story.after(story.sleep());
        for (std::uint32_t slot = 0; slot < 2; ++slot) (void)story.ready(1, slot);
    };
    CHECK(fails(0) == "postpone 1/0 (failure 1)");
    CHECK(left() == 3);
    back();
    CHECK(fails(0) == "postpone 1/0 (failure 2)");
    CHECK(left() == 2);
    back();
    CHECK(fails(0) == "postpone 1/0 (failure 3)");
    back();
    CHECK(fails(1) == "postpone 1/1 (failure 1)");
    back();
    CHECK(fails(1) == "postpone 1/1 (failure 2)");
    CHECK(left() == 0);
    back();
    CHECK(fails(1) == "postpone 1/1 (failure 3, budget spent)");
    CHECK(story.sleep() >= 450);
    CHECK(story.sleep() <= 900);
    SECTION("what is spent comes back, one in each of the longest delays") {
        back();
        CHECK(left() == 1);
        CHECK(fails(1) == "postpone 1/1 (failure 4)");
        (void)story.after(story.sleep());
        (void)story.ready(1, 1);
        (void)story.after(3 * 900);
        CHECK(left() == 3);
    }
    SECTION("the first failure after a healthy life is free") {
        back();
        (void)story.after(10'000);
        CHECK(left() == 3);
        CHECK(fails(1) == "postpone 1/1 (failure 1)");
        CHECK(left() == 3);
    }
    SECTION("another generation has a budget of its own") {
        story.reload_to(2);
        CHECK(story.policy().status(story.time()).back().respawn_budget == 3);
    }
}

TEST_CASE("one slot that fails for ever leaves the budget to the others") {
    Story story;
    story.serve(2);
    for (int failure = 1; failure <= 1'000; ++failure) {
        (void)story.exited(1, 0);
        (void)story.after(story.sleep());
        (void)story.ready(1, 0);
    }
    CHECK(story.policy().status(story.time()).at(0).respawn_budget == 20);
    (void)story.exited(1, 1);
    (void)story.after(100);
    (void)story.ready(1, 1);
    CHECK(story.exited(1, 1).ends_with("postpone 1/1 (failure 2)"));
}

TEST_CASE("with a budget of nothing whoever fails again waits long") {
    Story story;
    story.afford(0);
    story.serve();
    CHECK(story.exited(1) == "postpone 1/0 (failure 1)");
    CHECK(story.sleep() == 100);
    (void)story.after(100);
    CHECK(story.exited(1) == "postpone 1/0 (failure 2, budget spent)");
    CHECK(story.sleep() >= 450);
}

TEST_CASE("a healthy life makes the back-off start anew") {
    Story story;
    story.serve();
    (void)story.exited(1);
    (void)story.after(100);
    (void)story.ready(1);
    (void)story.after(9'999);
    CHECK(story.exited(1) == "postpone 1/0 (failure 2)");
    (void)story.after(200);
    (void)story.ready(1);
    (void)story.after(10'000);
    CHECK(story.exited(1) == "postpone 1/0 (failure 1)");
}

TEST_CASE("a respawn that fails to spawn or to become ready counts as a failure") {
    Story story;
    story.serve();
    (void)story.exited(1);
    (void)story.after(100);
    CHECK(story.not_spawned(1) == "postpone 1/0 (failure 2)");
    (void)story.after(200);
    CHECK(story.exited(1) == "postpone 1/0 (failure 3)");
    CHECK(story.policy().current_generation() == 1);
    CHECK_FALSE(story.policy().stopping());
}

TEST_CASE("a respawned worker that hangs is terminated, killed, and respawned") {
    Story story;
    story.serve();
    (void)story.exited(1);
    (void)story.after(100);
    CHECK(story.after(1'000) == "terminate 1/0");
    CHECK(story.after(300) == "kill 1/0");
    CHECK(story.sleep() == -1);
    CHECK(story.exited(1) == "postpone 1/0 (failure 2)");
    CHECK(story.after(200) == "spawn 1/0");
}

TEST_CASE("each slot has a back-off of its own") {
    Story story;
    story.serve(2);
    (void)story.exited(1, 0);
    (void)story.after(100);
    (void)story.ready(1, 0);
    CHECK(story.exited(1, 0) == "part 1/1 1/0, postpone 1/0 (failure 2)");
    const std::int64_t waits = story.sleep();
    REQUIRE(waits > 100);  // with this seed
    (void)story.after(waits - 100);
    CHECK(story.exited(1, 1) == "postpone 1/1 (failure 1)");
    CHECK(story.sleep() == 100);
    CHECK(story.after(100) == "spawn 1/0, spawn 1/1");
}
