// Which worker serves the sockets of a slot, when each slot has its own.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
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

using testing::Story;
namespace event = ringfort::master::event;

namespace {

/// Brings generation 1 to serve, with sockets for every worker.
void serve(Story& story, std::uint32_t workers) {
    story.own_sockets(workers);
    story.serve(workers);
}

}  // namespace

TEST_CASE("the sockets of a dead worker are lent to a sibling until its successor is ready") {
    Story story;
    serve(story, 2);
    CHECK(story.exited(1, 0) == "part 1/1 1/0, postpone 1/0 (failure 1), lend 0 to 1/1");
    CHECK(story.after(100) == "spawn 1/0");
    CHECK(story.ready(1, 0) == "introduce 1/0 1/1, take back 0 from 1/1");
}

TEST_CASE("what a worker has borrowed goes to another when it dies") {
    Story story;
    serve(story, 3);
    CHECK(story.exited(1, 0) ==
          "part 1/1 1/0, part 1/2 1/0, postpone 1/0 (failure 1), lend 0 to 1/1");
    CHECK(story.exited(1, 1) ==
          "part 1/2 1/1, postpone 1/1 (failure 1), lend 0 to 1/2, lend 1 to 1/2");
    CHECK(story.after(100) == "spawn 1/0, spawn 1/1");
    CHECK(story.ready(1, 0) == "introduce 1/0 1/2, take back 0 from 1/2");
    CHECK(story.ready(1, 1) == "introduce 1/1 1/0, introduce 1/1 1/2, take back 1 from 1/2");
}

TEST_CASE("loans are shared out among those that serve") {
    Story story;
    serve(story, 4);
    (void)story.exited(1, 0);
    CHECK(story.exited(1, 1).ends_with("lend 0 to 1/2, lend 1 to 1/3"));
}

TEST_CASE("when nobody serves nothing is lent, and the first that does gets all") {
    Story story;
    serve(story, 2);
    (void)story.exited(1, 0);
    CHECK(story.exited(1, 1) == "postpone 1/1 (failure 1)");
    CHECK(story.after(100) == "spawn 1/0, spawn 1/1");
    CHECK(story.ready(1, 1) == "lend 0 to 1/1");
}

TEST_CASE("without sockets of their own workers lend nothing") {
    Story story;
    story.serve(2);
    CHECK(story.exited(1, 0) == "part 1/1 1/0, postpone 1/0 (failure 1)");
}

TEST_CASE("a silent worker's sockets are lent after half of the watchdog's time") {
    Story story;
    story.watch(400);
    serve(story, 2);
    CHECK(story.sleep() == 200);
    CHECK(story.after(200) == "check 1/0, check 1/1");
    CHECK(story.pulse(0, 1, 1) == "");
    CHECK(story.pulse(200, 1, 0) == "lend 0 to 1/1");
    CHECK(story.sleep() == 100);
    CHECK(story.after(100) == "check 1/0");
    SECTION("and taken back when it shows life") {
        CHECK(story.pulse(0, 1, 0) == "take back 0 from 1/1");
    }
    SECTION("and stay lent while it is aborted and replaced") {
        CHECK(story.pulse(300, 1, 0) == "");
        CHECK(story.after(100) == "check 1/0, check 1/1");
        (void)story.pulse(0, 1, 1);
        CHECK(story.pulse(400, 1, 0) == "");  // looked at once more
        CHECK(story.after(100) == "check 1/0");
        CHECK(story.pulse(500, 1, 0) == "abort 1/0 after 500");
        CHECK(story.exited(1, 0) == "part 1/1 1/0, postpone 1/0 (failure 1)");
    }
}

TEST_CASE("a borrower that falls silent passes on what it has borrowed") {
    Story story;
    story.watch(400);
    serve(story, 3);
    (void)story.exited(1, 0);
    CHECK(story.after(200) == "spawn 1/0, check 1/1, check 1/2");
    (void)story.pulse(0, 1, 2);
    CHECK(story.pulse(200, 1, 1) == "take back 0 from 1/1, lend 0 to 1/2, lend 1 to 1/2");
}

TEST_CASE("when all are silent nobody stands in for anybody") {
    Story story;
    story.watch(400);
    serve(story, 2);
    CHECK(story.after(200) == "check 1/0, check 1/1");
    CHECK(story.pulse(200, 1, 0) == "lend 0 to 1/1");
    CHECK(story.pulse(200, 1, 1) == "");
    CHECK(story.after(100) == "check 1/0, check 1/1");
    CHECK(story.pulse(0, 1, 0) == "take back 0 from 1/1, lend 1 to 1/0");
}

TEST_CASE("the orphans of a larger generation are served, and closed when they are empty") {
    Story story;
    serve(story, 2);
    (void)story(event::Reload{});
    CHECK(story.built(2, 1) == "spawn 2/0");
    CHECK(story.ready(2) ==
          "commit 2, drain 1/0 within 5000, drain 1/1 within 5000, lend 1 to 2/0");
    CHECK(story.sleep() == 700);
    CHECK(story.after(699) == "");
    CHECK(story.after(1) == "end orphans of 2");
    CHECK(story(event::OrphansBusy{2}) == "");
    CHECK(story.sleep() == 250);
    CHECK(story.after(250) == "end orphans of 2");
    CHECK(story(event::OrphansEnded{.generation = 2, .slots = 1}) == "");
    CHECK(story.exited(1, 0) + story.exited(1, 1) == "part 1/1 1/0release 1");
    CHECK(story.sleep() == -1);
}

TEST_CASE("a generation that leaves lends nothing, and its orphans are those of the next") {
    Story story;
    serve(story, 2);
    (void)story(event::Reload{});
    (void)story.built(2, 1);
    (void)story.ready(2);
    SECTION("at a reload") {
        (void)story(event::Reload{});
        CHECK(story.built(3, 2) == "spawn 3/0, spawn 3/1");
        (void)story.ready(3, 0);
        CHECK(story.ready(3, 1) == "introduce 3/1 3/0, commit 3, drain 2/0 within 5000");
        CHECK(story.exited(1, 0) == "part 1/1 1/0");
        CHECK(story.after(700) == "");
    }
    SECTION("at the end") {
        CHECK(story(event::Drain{}) == "drain 2/0 within 5000");
        CHECK(story.exited(1, 0) == "part 1/1 1/0");
        CHECK(story.after(700) == "");
    }
}
