// The watchdog of the policy: who makes no progress is aborted, and nobody else.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
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

namespace {

/// A story whose first generation serves with a watchdog of two seconds.
Story watched(std::uint32_t workers = 1) {
    Story story;
    story.watch(2'000);
    story.serve(workers);
    return story;
}

}  // namespace

TEST_CASE("a pulse is looked at when it may be overdue, and not before") {
    Story story = watched();
    CHECK(story.sleep() == 2'000);
    CHECK(story.after(1'999) == "");
    CHECK(story.after(1) == "check 1/0");
    CHECK(story.sleep() == -1);  // until it is told
    CHECK(story.pulse(500) == "");
    CHECK(story.sleep() == 1'500);
    CHECK(story.after(1'500) == "check 1/0");
}

TEST_CASE("a worker without progress is aborted, then killed, and respawned when it has ended") {
    Story story = watched(2);
    CHECK(story.after(2'000) == "check 1/0, check 1/1");
    CHECK(story.pulse(1'999, 1, 1) == "");
    CHECK(story.pulse(2'100) == "");
    CHECK(story.after(499) == "check 1/1");
    CHECK(story.pulse(10, 1, 1) == "");
    CHECK(story.after(1) == "check 1/0");
    CHECK(story.pulse(2'600) == "abort 1/0 after 2500");  // ready for no longer than that
    CHECK(story.policy().serving() == 1);
    CHECK(story.after(299) == "");
    CHECK(story.after(1) == "kill 1/0");
    CHECK(story.exited(1, 0) == "part 1/1 1/0, postpone 1/0 (failure 1)");
    CHECK(story.after(100) == "spawn 1/0");
}

TEST_CASE("a worker that hangs while it drains is aborted before its drain time is over") {
    Story story = watched();
    story.reload_to(2);
    CHECK(story.after(2'000) == "check 1/0, check 2/0");
    CHECK(story.pulse(0, 2) == "");
    CHECK(story.pulse(2'000) == "");
    CHECK(story.after(500) == "check 1/0");
    CHECK(story.pulse(2'500) == "abort 1/0 after 2500");
    CHECK(story.exited(1) == "release 1");
}

TEST_CASE("a worker that is aborted is not given more time by a stop") {
    Story story = watched();
    (void)story.after(2'000);
    CHECK(story.pulse(5'000) == "");
    CHECK(story.after(500) == "check 1/0");
    CHECK(story.pulse(5'500) == "abort 1/0 after 2500");
    CHECK(story(event::Drain{}) == "");
    CHECK(story(event::Terminate{}) == "");
    CHECK(story.sleep() == 300);
    CHECK(story.after(300) == "kill 1/0");
    CHECK(story.exited(1) == "release 1, exit 0");
}

TEST_CASE("a master that was stopped itself blames nobody for the time") {
    Story story = watched(2);
    CHECK(story.after(60'000) == "");
    CHECK(story.sleep() == 2'000);
    CHECK(story.after(2'000) == "check 1/0, check 1/1");
    CHECK(story.pulse(62'000, 1, 0) == "");
    CHECK(story.pulse(100, 1, 1) == "");
    CHECK(story.after(500) == "check 1/0");
    CHECK(story.pulse(62'500, 1, 0) == "abort 1/0 after 2500");
}

TEST_CASE("workers that were stopped with the master, for however long, are given a moment") {
    Story story = watched();
    (void)story.after(2'000);
    CHECK(story.pulse(2'000) == "");  // the first thing the master does when it goes on
    CHECK(story.after(500) == "check 1/0");
    CHECK(story.pulse(100) == "");
    CHECK(story.sleep() == 1'900);
    CHECK(story.after(1'900) == "check 1/0");
    CHECK(story.pulse(2'000) == "");
    CHECK(story.after(30'000) == "");  // and stopped again meanwhile: late for the second look, too
    CHECK(story.sleep() == 2'000);
}

TEST_CASE("a worker that hangs after a healthy life is started again with the shortest delay") {
    Story story = watched();
    for (int failures = 1; failures < 4; ++failures) {
        (void)story.exited(1);
        (void)story.after(story.sleep());
        (void)story.ready(1);
    }
    const bool healthy = GENERATE(true, false);
    for (int i = 0; healthy && i < 10; ++i) {
        CHECK(story.after(story.sleep()) == "check 1/0");
        CHECK(story.pulse(0) == "");
    }
    (void)story.after(story.sleep());
    (void)story.pulse(2'000);
    (void)story.after(500);
    CHECK(story.pulse(2'500) == "abort 1/0 after 2500");
    CHECK(story.exited(1) == (healthy ? "postpone 1/0 (failure 1)" : "postpone 1/0 (failure 4)"));
}

TEST_CASE("a pulse from the future counts as one of now") {
    Story story = watched();
    (void)story.after(2'000);
    CHECK(story.pulse(-1'000'000'000) == "");
    CHECK(story.sleep() == 2'000);
}

TEST_CASE("a pulse of a worker that has gone, or is to end, is not listened to") {
    Story story = watched();
    CHECK(story.after(2'000) == "check 1/0");
    CHECK(story(event::Terminate{}) == "terminate 1/0");
    CHECK(story.pulse(9'000) == "");
    CHECK(story.exited(1) == "release 1, exit 0");
    CHECK(story.pulse(9'000) == "");
}

TEST_CASE("without a watchdog no pulse is looked at") {
    Story story;
    story.serve();
    CHECK(story.sleep() == -1);
    CHECK(story.after(1'000'000) == "");
}
