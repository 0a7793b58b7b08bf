#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

import ringfort.base;
import ringfort.master;

#include "story.h"

using testing::Story;
namespace event = ringfort::master::event;

TEST_CASE("an upgrade starts a successor, and drains once that is ready") {
    Story story;
    story.serve(2);
    CHECK_FALSE(story.policy().busy());
    CHECK(story(event::Upgrade{}) == "start a successor");
    CHECK(story.policy().busy());
    CHECK_FALSE(story.policy().superseded());
    CHECK(story(event::SuccessorReady{}) == "hand over");
    CHECK_FALSE(story.policy().superseded());
    CHECK(story.policy().serving() == 2);
    CHECK(story(event::SuccessorTookOver{}) == "drain 1/0 within 5000, drain 1/1 within 5000");
    CHECK(story.policy().superseded());
    CHECK(story.policy().stopping());
    CHECK(story.exited(1, 0) == "part 1/1 1/0");
    CHECK(story(event::SuccessorExited{}) == "");  // it was on its own by then
    CHECK(story.exited(1, 1) == "release 1, exit 0");
}

TEST_CASE("a successor that dies over what is handed over is an upgrade that failed") {
    Story story;
    story.serve();
    (void)story(event::Upgrade{});
    (void)story(event::SuccessorReady{});
    SECTION("at once") {
        CHECK(story(event::SuccessorExited{}) == "fail the upgrade");
    }
    SECTION("when it does not take it") {
        CHECK(story.sleep() == Story::timing.kill_timeout.count());
        CHECK(story.after(Story::timing.kill_timeout.count()) == "kill the successor");
        CHECK(story(event::SuccessorExited{}) == "fail the upgrade");
    }
    SECTION("while this master stops") {
        CHECK(story(event::Drain{}) == "drain 1/0 within 5000");
        CHECK(story.exited(1) == "release 1");
        CHECK(story(event::SuccessorExited{}) == "fail the upgrade, exit 0");
        return;
    }
    CHECK(story.sleep() == -1);
    CHECK(story.policy().serving() == 1);
    CHECK(story(event::Upgrade{}) == "start a successor");
}

TEST_CASE("a successor that exits is an upgrade that failed: nothing has changed") {
    Story story;
    story.serve();
    (void)story(event::Upgrade{});
    CHECK(story(event::SuccessorExited{}) == "fail the upgrade");
    CHECK_FALSE(story.policy().busy());
    CHECK(story.policy().serving() == 1);
    CHECK(story.sleep() == -1);
    CHECK(story(event::Upgrade{}) == "start a successor");
}

TEST_CASE("a successor that is not ready in time is told to end, and then killed") {
    Story story;
    story.serve();
    (void)story(event::Upgrade{});
    CHECK(story.sleep() == Story::timing.upgrade_timeout.count());
    CHECK(story.after(Story::timing.upgrade_timeout.count() - 1) == "");
    CHECK(story.after(1) == "end the successor");
    CHECK(story(event::SuccessorReady{}) == "");  // too late
    CHECK_FALSE(story.policy().superseded());
    CHECK(story.after(Story::timing.kill_timeout.count()) == "kill the successor");
    CHECK(story.sleep() == -1);
    CHECK(story(event::SuccessorExited{}) == "fail the upgrade");
    CHECK_FALSE(story.policy().stopping());
}

TEST_CASE("a reload during an upgrade waits until that has failed") {
    Story story;
    story.serve();
    (void)story(event::Upgrade{});
    CHECK(story(event::Reload{}) == "");
    CHECK(story(event::Reload{}) == "");
    CHECK(story(event::SuccessorExited{}) == "fail the upgrade, build");
}

TEST_CASE("an upgrade at a bad moment is refused") {
    Story story;
    CHECK(story(event::Upgrade{}) == "refuse the upgrade");  // the first cycle is being built
    story.serve();
    SECTION("during another") {
        (void)story(event::Upgrade{});
        CHECK(story(event::Upgrade{}) == "refuse the upgrade");
        (void)story(event::SuccessorReady{});
        CHECK(story(event::Upgrade{}) == "refuse the upgrade");
    }
    SECTION("during a reload") {
        (void)story(event::Reload{});
        CHECK(story(event::Upgrade{}) == "refuse the upgrade");
        (void)story.built(2);
        CHECK(story(event::Upgrade{}) == "refuse the upgrade");
        (void)story.ready(2);
        CHECK(story(event::Upgrade{}) == "start a successor");
    }
    SECTION("while stopping") {
        (void)story(event::Drain{});
        CHECK(story(event::Upgrade{}) == "refuse the upgrade");
    }
}

TEST_CASE("a stop during an upgrade ends the successor first and waits for its end") {
    Story story;
    story.serve();
    (void)story(event::Upgrade{});
    CHECK(story(event::Drain{}) == "end the successor, drain 1/0 within 5000");
    CHECK(story.exited(1) == "release 1");
    CHECK(story(event::SuccessorExited{}) == "fail the upgrade, exit 0");
}

TEST_CASE("a master that was succeeded ends at once when it is told to") {
    Story story;
    story.serve();
    (void)story(event::Upgrade{});
    (void)story(event::SuccessorReady{});
    (void)story(event::SuccessorTookOver{});
    CHECK(story(event::SuccessorExited{}) == "");
    CHECK(story(event::Drain{}) == "terminate 1/0");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("a worker that dies during an upgrade is respawned") {
    Story story;
    story.serve();
    (void)story(event::Upgrade{});
    CHECK(story.exited(1) == "postpone 1/0 (failure 1)");
    CHECK(story.after(100) == "spawn 1/0");
    CHECK(story.ready(1) == "");
    CHECK(story(event::SuccessorReady{}) == "hand over");
    CHECK(story(event::SuccessorTookOver{}) == "drain 1/0 within 5000");
}
