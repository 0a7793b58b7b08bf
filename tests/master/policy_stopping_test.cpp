// The policy of this master's own end, where it is announced before it begins.
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

TEST_CASE("with a shutdown delay a drain is announced, and the workers serve on for so long") {
    Story story;
    story.linger(2'000);
    story.serve(2);
    CHECK(story(event::Drain{}) == "announce the stop");
    CHECK_FALSE(story.policy().stopping());
    CHECK(story.policy().closing());
    CHECK(story.policy().current_generation() == 1);
    CHECK(story.sleep() == 2'000);
    SECTION("then they drain") {
        CHECK(story.after(1'999) == "");
        CHECK(story.after(1) == "drain 1/0 within 5000, drain 1/1 within 5000");
        CHECK(story.policy().stopping());
    }
    SECTION("a second one makes them drain, and a third one ends them at once") {
        CHECK(story(event::Drain{}) == "drain 1/0 within 5000, drain 1/1 within 5000");
        CHECK(story(event::Drain{}) == "terminate 1/0, terminate 1/1");
    }
    SECTION("a stop at once is not delayed") {
        CHECK(story(event::Terminate{}) == "terminate 1/0, terminate 1/1");
    }
    SECTION("nothing new is begun") {
        CHECK(story(event::Reload{}) == "refuse");
        CHECK(story(event::Upgrade{}) == "refuse the upgrade");
        CHECK(story.after(2'000) == "drain 1/0 within 5000, drain 1/1 within 5000");
    }
    SECTION("a worker that dies meanwhile is respawned") {
        CHECK(story.exited(1, 0) == "part 1/1 1/0, postpone 1/0 (failure 1)");
        CHECK(story.after(100) == "spawn 1/0");
    }
}

TEST_CASE("an announced stop gives up what is under way") {
    Story story;
    story.linger(2'000);
    story.serve();
    SECTION("a build") {
        (void)story(event::Reload{});
        (void)story(event::Reload{});
        CHECK(story(event::Drain{}) == "abort the build, announce the stop");
        CHECK(story.built(2) == "abandon 2 (stopping), release 2");
        CHECK(story.after(2'000) == "drain 1/0 within 5000");
    }
    SECTION("a generation that starts") {
        (void)story(event::Reload{});
        (void)story.built(2);
        CHECK(story(event::Drain{}) == "abandon 2 (stopping), terminate 2/0, announce the stop");
        CHECK(story.exited(2) == "release 2");
        CHECK(story.policy().current_generation() == 1);
    }
    SECTION("an upgrade") {
        (void)story(event::Upgrade{});
        CHECK(story(event::Drain{}) == "end the successor, announce the stop");
        CHECK(story(event::SuccessorReady{}) == "");
        CHECK(story(event::SuccessorExited{}) == "fail the upgrade");
        CHECK(story.after(2'000) == "drain 1/0 within 5000");
    }
}

TEST_CASE("a stop beside another master that serves is not delayed") {
    Story story;
    story.linger(2'000);
    SECTION("one that it has left all to") {
        story.serve();
        (void)story(event::Upgrade{});
        CHECK(story(event::SuccessorReady{}) == "hand over");
        CHECK(story(event::Drain{}) == "drain 1/0 within 5000");
    }
    SECTION("one whose part it has not taken over yet") {
        story.inherit();
        story.serve();
        CHECK(story(event::Drain{}) == "drain 1/0 within 5000");
    }
}

TEST_CASE("a tick long after an announced stop was due begins the drain, and respawns nobody") {
    Story story;
    story.linger(2'000);
    story.serve(2);
    (void)story(event::Drain{});
    (void)story.exited(1, 0);
    CHECK(story.after(60'000) == "drain 1/1 within 5000");
}

TEST_CASE("a stop before anybody serves is not delayed") {
    Story story;
    story.linger(2'000);
    (void)story.built(1);
    CHECK(story(event::Drain{}) == "abandon 1 (stopping), terminate 1/0");
}
