#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
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
namespace event = master::event;

// Start

TEST_CASE("a start spawns every worker and serves when the last one is ready") {
    Story story;
    CHECK_FALSE(story.policy().current_generation());
    CHECK(story.built(1, 2) == "spawn 1/0, spawn 1/1");
    CHECK(story.ready(1, 1) == "");
    CHECK(story.policy().serving() == 1);
    CHECK_FALSE(story.policy().current_generation());
    CHECK(story.ready(1, 0) == "introduce 1/0 1/1, commit 1");
    CHECK(story.policy().current_generation() == 1);
    CHECK(story.policy().serving() == 2);
    CHECK(story.sleep() == -1);
}

TEST_CASE("a start without a cycle ends with code 1") {
    Story story;
    CHECK(story(event::CycleFailed{}) == "exit 1");
    CHECK(story.policy().stopping());
}

TEST_CASE("a start whose worker ends ends the others and then itself") {
    Story story;
    (void)story.built(1, 3);
    (void)story.ready(1, 0);
    CHECK(story.exited(1, 1) == "abandon 1 (worker exited), terminate 1/0, terminate 1/2");
    CHECK(story.exited(1, 0) == "");
    CHECK(story.exited(1, 2) == "release 1, exit 1");
}

TEST_CASE("a start whose worker cannot be spawned ends the others and then itself") {
    Story story;
    (void)story.built(1, 2);
    CHECK(story.not_spawned(1, 1) == "abandon 1 (spawn), terminate 1/0");
    CHECK(story.exited(1, 0) == "release 1, exit 1");
}

TEST_CASE("a start of which no worker can be spawned ends at once") {
    Story story;
    (void)story.built(1, 3);
    CHECK(story.not_spawned(1, 0) == "abandon 1 (spawn), terminate 1/1, terminate 1/2");
    CHECK(story.not_spawned(1, 1) == "");
    CHECK(story.not_spawned(1, 2) == "release 1, exit 1");
}

TEST_CASE("a start whose worker is not ready in time ends with code 1") {
    Story story;
    (void)story.built(1, 2);
    (void)story.ready(1, 0);
    CHECK(story.sleep() == 1'000);
    CHECK(story.after(999) == "");
    CHECK(story.after(1) == "abandon 1 (ready timeout), terminate 1/0, terminate 1/1");
    CHECK(story.sleep() == 300);
    CHECK(story.exited(1, 0) == "");
    CHECK(story.after(300) == "kill 1/1");
    CHECK(story.sleep() == -1);
    CHECK(story.exited(1, 1) == "release 1, exit 1");
}

TEST_CASE("a failed start forgets the reloads that were asked for meanwhile") {
    Story story;
    CHECK(story(event::Reload{}) == "");
    CHECK(story(event::CycleFailed{}) == "exit 1");
}

// Reload

TEST_CASE("a reload builds, spawns, commits, and only then drains the old generation") {
    Story story;
    story.serve(2);
    CHECK(story(event::Reload{}) == "build");
    CHECK(story.built(2, 2) == "spawn 2/0, spawn 2/1");
    CHECK(story.ready(2, 0) == "");
    CHECK(story.policy().current_generation() == 1);
    CHECK(story.ready(2, 1) ==
          "introduce 2/1 2/0, commit 2, drain 1/0 within 5000, drain 1/1 within 5000");
    CHECK(story.policy().current_generation() == 2);
    CHECK(story.exited(1, 0) == "part 1/1 1/0");
    CHECK(story.policy().living_generations() == 2);
    CHECK(story.exited(1, 1) == "release 1");
    CHECK(story.policy().living_generations() == 1);
    CHECK(story.sleep() == -1);
}

TEST_CASE("a reload whose cycle cannot be built leaves the old generation serving") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    CHECK(story(event::CycleFailed{}) == "");
    CHECK(story.policy().current_generation() == 1);
    CHECK(story.policy().serving() == 1);
    CHECK(story(event::Reload{}) == "build");
}

TEST_CASE("a reload whose worker ends leaves the old generation serving") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2, 2);
    CHECK(story.exited(2, 0) == "abandon 2 (worker exited), terminate 2/1");
    CHECK(story.policy().current_generation() == 1);
    CHECK(story.exited(2, 1) == "release 2");
    CHECK_FALSE(story.policy().stopping());
    CHECK(story.sleep() == -1);
}

TEST_CASE("a reload whose worker ends after it was ready leaves the old generation serving") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2, 2);
    (void)story.ready(2, 0);
    CHECK(story.exited(2, 0) == "abandon 2 (worker exited), terminate 2/1");
    CHECK(story.ready(2, 1) == "");
    CHECK(story.policy().current_generation() == 1);
}

TEST_CASE("a worker of a reload that is given up finishes what it has accepted") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2, 3);
    (void)story.ready(2, 0);
    CHECK(story.exited(2, 1) == "abandon 2 (worker exited), drain 2/0 within 5000, terminate 2/2");
    CHECK(story.exited(2, 2) == "part 2/0 2/2");
    CHECK(story.exited(2, 0) == "release 2");
    CHECK(story.policy().current_generation() == 1);
}

TEST_CASE("a reload of which no worker can be spawned leaves the old generation serving") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2, 2);
    CHECK(story.not_spawned(2, 0) == "abandon 2 (spawn), terminate 2/1");
    CHECK(story.not_spawned(2, 1) == "release 2");
    CHECK(story.policy().living_generations() == 1);
    CHECK(story.policy().current_generation() == 1);
    CHECK(story.sleep() == -1);
}

TEST_CASE("a reload whose worker hangs is abandoned and its workers are killed") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2, 2);
    CHECK(story.after(1'000) == "abandon 2 (ready timeout), terminate 2/0, terminate 2/1");
    CHECK(story.ready(2, 0) == "");  // too late
    CHECK(story.after(299) == "");
    CHECK(story.after(1) == "kill 2/0, kill 2/1");
    CHECK(story.after(10'000) == "");
    CHECK(story.exited(2, 0) == "");
    CHECK(story.exited(2, 1) == "release 2");
    CHECK(story.policy().current_generation() == 1);
}

TEST_CASE("reloads asked for while one runs become one more") {
    Story story;
    story.serve();
    CHECK(story(event::Reload{}) == "build");
    CHECK(story(event::Reload{}) == "");
    (void)story.built(2);
    CHECK(story(event::Reload{}) == "");
    CHECK(story(event::Reload{}) == "");
    CHECK(story.ready(2) == "commit 2, drain 1/0 within 5000, build");
    (void)story.built(3);
    CHECK(story.ready(3) == "commit 3, drain 2/0 within 5000");
}

TEST_CASE("a reload asked for during one that fails is tried all the same") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story(event::Reload{});
    SECTION("in its build") {
        CHECK(story(event::CycleFailed{}) == "build");
    }
    SECTION("in its workers") {
        (void)story.built(2);
        CHECK(story.exited(2) == "abandon 2 (worker exited), build, release 2");
    }
}

TEST_CASE("a reload asked for during the start follows it") {
    Story story;
    CHECK(story(event::Reload{}) == "");
    (void)story.built(1);
    CHECK(story.ready(1) == "commit 1, build");
}

TEST_CASE("a worker of the old generation that ends during a reload is respawned") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2);
    CHECK(story.exited(1) == "postpone 1/0 (failure 1)");
    CHECK(story.after(100) == "spawn 1/0");
    CHECK(story.policy().current_generation() == 1);
    CHECK(story.ready(2) == "commit 2, terminate 1/0");  // it was not ready: nothing to drain
    CHECK(story.exited(1) == "release 1");
}

TEST_CASE("an old generation that waits to respawn goes when its successor serves") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2);
    (void)story.exited(1);
    CHECK(story.ready(2) == "commit 2, release 1");
    CHECK(story.after(10'000) == "");
}

TEST_CASE("a draining worker that ends is not respawned") {
    Story story;
    story.serve(2);
    story.reload_to(2);
    CHECK(story.exited(1, 0) == "part 1/1 1/0");
    CHECK(story.after(2'000) == "");
}

TEST_CASE("one generation too many hurries the oldest that drains") {
    Story story;
    story.serve();
    for (std::uint32_t generation = 2; generation <= limits::max_generations; ++generation)
        story.reload_to(generation);
    REQUIRE(story.policy().living_generations() == limits::max_generations);
    CHECK(story(event::Reload{}) == "");  // it has only begun to drain
    CHECK(story.sleep() == 300);
    CHECK(story.after(299) == "");
    CHECK(story.after(1) == "build");
    const std::uint32_t next = limits::max_generations + 1;
    CHECK(story.built(next) == "terminate 1/0, spawn " + std::to_string(next) + "/0");
    CHECK(story.exited(1) == "release 1");
}

TEST_CASE("a reload too many begins as soon as an old generation has gone by itself") {
    Story story;
    story.serve();
    for (std::uint32_t generation = 2; generation <= limits::max_generations; ++generation)
        story.reload_to(generation);
    CHECK(story(event::Reload{}) == "");
    CHECK(story(event::Reload{}) == "");
    CHECK(story.after(100) == "");
    CHECK(story.exited(1) == "release 1, build");
    CHECK(story.sleep() > 300);  // nothing is owed any more
    const std::uint32_t next = limits::max_generations + 1;
    CHECK(story.built(next) == "spawn " + std::to_string(next) + "/0");
}

TEST_CASE("a reload that waits for room is forgotten when the master is told to stop") {
    Story story;
    story.serve();
    for (std::uint32_t generation = 2; generation <= limits::max_generations; ++generation)
        story.reload_to(generation);
    CHECK(story(event::Reload{}) == "");
    (void)story(event::Drain{});
    CHECK(story.exited(1) == "release 1");
    CHECK(story.after(400) == "");
}

TEST_CASE("a generation that is hurried already makes the next oldest hurry") {
    Story story;
    story.serve();
    for (std::uint32_t generation = 2; generation <= limits::max_generations + 1; ++generation) {
        if (generation > limits::max_generations) (void)story.after(300);
        story.reload_to(generation);
    }
    (void)story(event::Reload{});
    const std::uint32_t next = limits::max_generations + 2;
    CHECK(story.built(next) == "terminate 2/0, spawn " + std::to_string(next) + "/0");
}

// Peers

TEST_CASE("every pair of workers is introduced once, and parted when one has gone") {
    Story story;
    (void)story.built(1, 3);
    CHECK(story.ready(1, 2) == "");
    CHECK(story.ready(1, 0) == "introduce 1/0 1/2");
    CHECK(story.ready(1, 1) == "introduce 1/1 1/0, introduce 1/1 1/2, commit 1");
    CHECK(story.exited(1, 0) == "part 1/1 1/0, part 1/2 1/0, postpone 1/0 (failure 1)");
    (void)story.after(100);
    CHECK(story.ready(1, 0) == "introduce 1/0 1/1, introduce 1/0 1/2");
}

TEST_CASE("workers of two generations are not introduced") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2);
    CHECK(story.ready(2) == "commit 2, drain 1/0 within 5000");
}

TEST_CASE("a worker that ends before it was ready parts from nobody") {
    Story story;
    story.serve(2);
    (void)story.exited(1, 0);
    (void)story.after(100);
    CHECK(story.exited(1, 0) == "postpone 1/0 (failure 2)");
}

// Stop

TEST_CASE("a drain waits for the workers and ends with code 0") {
    Story story;
    story.serve(2);
    CHECK(story(event::Drain{}) == "drain 1/0 within 5000, drain 1/1 within 5000");
    CHECK(story.policy().stopping());
    CHECK_FALSE(story.policy().current_generation());
    CHECK(story.exited(1, 1) == "part 1/0 1/1");
    CHECK(story.exited(1, 0) == "release 1, exit 0");
}

TEST_CASE("a worker that does not drain in time is terminated, and then killed") {
    Story story;
    story.serve();
    (void)story(event::Drain{});
    CHECK(story.sleep() == 5'300);  // the worker keeps the time itself: this is for one that hangs
    CHECK(story.after(5'299) == "");
    CHECK(story.after(1) == "terminate 1/0");
    CHECK(story.after(299) == "");
    CHECK(story.after(1) == "kill 1/0");
    CHECK(story.after(100'000) == "");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("a second drain stops at once") {
    Story story;
    story.serve();
    (void)story(event::Drain{});
    CHECK(story(event::Drain{}) == "terminate 1/0");
    CHECK(story(event::Drain{}) == "");
    CHECK(story.after(300) == "kill 1/0");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("terminate stops at once, and a drain afterwards changes nothing") {
    Story story;
    story.serve(2);
    CHECK(story(event::Terminate{}) == "terminate 1/0, terminate 1/1");
    CHECK(story(event::Drain{}) == "");
    CHECK(story(event::Terminate{}) == "");
    CHECK(story.exited(1, 0) == "");
    CHECK(story.exited(1, 1) == "release 1, exit 0");
}

TEST_CASE("terminate reaches the generations that drain") {
    Story story;
    story.serve();
    story.reload_to(2);
    CHECK(story(event::Terminate{}) == "terminate 1/0, terminate 2/0");
    CHECK(story.exited(2) == "release 2");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("a drain leaves the generations that drain already the rest of their time") {
    Story story;
    story.serve();
    story.reload_to(2);
    CHECK(story.after(1'000) == "");
    CHECK(story(event::Drain{}) == "drain 2/0 within 5000");
    CHECK(story.sleep() == 4'300);
    CHECK(story.after(4'300) == "terminate 1/0");
}

TEST_CASE("a stop spawns nothing: a worker that waits to be respawned is forgotten") {
    Story story;
    story.serve(2);
    (void)story.exited(1, 0);
    SECTION("drain") {
        CHECK(story(event::Drain{}) == "drain 1/1 within 5000");
    }
    SECTION("terminate") {
        CHECK(story(event::Terminate{}) == "terminate 1/1");
    }
    CHECK(story.after(100) == "");
    CHECK(story.exited(1, 1) == "release 1, exit 0");
}

TEST_CASE("a drain ends a worker that is being respawned at once") {
    Story story;
    story.serve();
    (void)story.exited(1);
    (void)story.after(100);
    CHECK(story(event::Drain{}) == "terminate 1/0");
    CHECK(story.ready(1) == "");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("a stop with nobody alive ends at once") {
    Story story;
    story.serve();
    (void)story.exited(1);
    CHECK(story(event::Drain{}) == "release 1, exit 0");
}

TEST_CASE("a stop during the first build waits for it and takes nothing from it") {
    Story story;
    CHECK(story(event::Drain{}) == "abort the build");
    SECTION("that succeeds") {
        CHECK(story.built(1, 2) == "abandon 1 (stopping), release 1, exit 1");
    }
    SECTION("that fails") {
        CHECK(story(event::CycleFailed{}) == "exit 1");
    }
}

TEST_CASE("a stop during the build of a reload waits for it and for the workers") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    CHECK(story(event::Drain{}) == "abort the build, drain 1/0 within 5000");
    SECTION("the build comes first") {
        CHECK(story.built(2) == "abandon 2 (stopping), release 2");
        CHECK(story.exited(1) == "release 1, exit 0");
    }
    SECTION("the build comes last") {
        CHECK(story.exited(1) == "release 1");
        CHECK(story.built(2) == "abandon 2 (stopping), release 2, exit 0");
    }
    SECTION("the build fails") {
        CHECK(story(event::CycleFailed{}) == "");
        CHECK(story.exited(1) == "release 1, exit 0");
    }
}

TEST_CASE("a stop during a reload gives the new generation up and drains the old one") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2, 2);
    (void)story.ready(2, 0);
    CHECK(story(event::Drain{}) ==
          "abandon 2 (stopping), drain 2/0 within 5000, terminate 2/1, "
          "drain 1/0 within 5000");
    CHECK(story.ready(2, 1) == "");
    CHECK(story.exited(2, 0) == "");
    CHECK(story.exited(2, 1) == "release 2");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("a stop during the start ends with code 1") {
    Story story;
    (void)story.built(1);
    CHECK(story(event::Drain{}) == "abandon 1 (stopping), terminate 1/0");
    CHECK(story.ready(1) == "");
    CHECK(story.exited(1) == "release 1, exit 1");
}

TEST_CASE("a reload is refused while stopping, and one that waited is forgotten") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    (void)story.built(2);
    (void)story(event::Reload{});
    (void)story(event::Drain{});
    CHECK(story(event::Reload{}) == "refuse");
    CHECK(story.exited(2) == "release 2");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("after the exit nothing is answered") {
    Story story;
    story.serve();
    (void)story(event::Terminate{});
    REQUIRE(story.exited(1) == "release 1, exit 0");
    CHECK(story(event::Reload{}) == "");
    CHECK(story(event::Reopen{}) == "");
    CHECK(story(event::Terminate{}) == "");
    CHECK(story.built(2) == "");
    CHECK(story.after(100'000) == "");
    CHECK(story.sleep() == -1);
}

// Everything else

TEST_CASE("logs are reopened at any time") {
    Story story;
    CHECK(story(event::Reopen{}) == "reopen");
    story.serve();
    CHECK(story(event::Reopen{}) == "reopen");
    (void)story(event::Drain{});
    CHECK(story(event::Reopen{}) == "reopen");
}

TEST_CASE("events about workers that are not there change nothing") {
    Story story;
    story.serve();
    for (const master::WorkerId id : {master::WorkerId{1, 7}, master::WorkerId{9, 0}}) {
        CHECK(story(event::WorkerReady{id}) == "");
        CHECK(story(event::WorkerExited{id}) == "");
        CHECK(story(event::SpawnFailed{id}) == "");
    }
    CHECK(story.ready(1) == "");        // a second time
    CHECK(story.not_spawned(1) == "");  // it is ready: it was spawned
    (void)story.exited(1);
    CHECK(story.exited(1) == "");
    CHECK(story.ready(1) == "");
    CHECK(story.policy().serving() == 0);
    CHECK(story.sleep() == 100);
}

TEST_CASE("an early tick does nothing, and a late one catches up with everything") {
    Story story;
    story.serve(2);
    (void)story.exited(1, 0);
    (void)story.exited(1, 1);
    CHECK(story.after(99) == "");
    CHECK(story.after(60'000) == "spawn 1/0, spawn 1/1");
}

TEST_CASE("every generation keeps the times of its own settings") {
    Story story;
    story.serve();
    (void)story(event::Reload{});
    auto quick = Story::timing;
    quick.ready_timeout = Milliseconds{50};
    quick.drain_timeout = Milliseconds{70};
    CHECK(story(event::CycleBuilt{.generation = 2, .workers = 1, .timing = quick}) == "spawn 2/0");
    CHECK(story.sleep() == 50);
    CHECK(story.ready(2) == "commit 2, drain 1/0 within 5000");
    (void)story.exited(1);
    CHECK(story(event::Drain{}) == "drain 2/0 within 70");
    CHECK(story.sleep() == 370);
}
