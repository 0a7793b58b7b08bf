#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <vector>

import ringfort.base;
import ringfort.coro;

using namespace ringfort;

namespace {

struct Recorder : coro::Timer {
    Recorder(std::vector<int>& order, int number)
        : Timer{[](Timer& self) noexcept {
              auto& recorder = static_cast<Recorder&>(self);
              recorder.log->push_back(recorder.id);
          }},
          log{&order},
          id{number} {}
    std::vector<int>* log;
    int id;
};

const Instant start{};
Instant at(int ms) {
    return start + Milliseconds{ms};
}

}  // namespace

TEST_CASE("timers fire in the order they are due, and only those that are") {
    std::vector<int> order;
    Recorder late{order, 30}, early{order, 10}, middle{order, 20};
    coro::TimerQueue queue;
    queue.arm(late, at(30));
    queue.arm(early, at(10));
    queue.arm(middle, at(20));
    CHECK(queue.next() == at(10));
    CHECK(queue.fire(at(20)) == 2);
    CHECK(order == std::vector{10, 20});
    CHECK(late.armed());
    CHECK_FALSE(early.armed());
    late.disarm();
    CHECK_FALSE(queue.next());
}

TEST_CASE("a destroyed timer does not fire and arming again moves it") {
    std::vector<int> order;
    coro::TimerQueue queue;
    Recorder moved{order, 1};
    {
        Recorder gone{order, 2};
        queue.arm(gone, at(5));
    }
    queue.arm(moved, at(5));
    queue.arm(moved, at(50));
    CHECK(queue.fire(at(10)) == 0);
    CHECK(queue.fire(at(50)) == 1);
    CHECK(order == std::vector{1});
}

TEST_CASE("a timer that is armed by an instant is moved only when it would fire later") {
    std::vector<int> order;
    Recorder timer{order, 1};
    coro::TimerQueue queue;
    queue.arm_by(timer, at(20));
    queue.arm_by(timer, at(30));
    queue.fire(at(20));
    CHECK(order == std::vector{1});  // by 30 it has fired: who wants it then arms it again
    queue.arm_by(timer, at(60));
    queue.arm_by(timer, at(59));
    queue.fire(at(58));
    CHECK(order == std::vector{1});
    queue.fire(at(59));
    CHECK(order == std::vector{1, 1});
}

TEST_CASE("a timer that is armed by an instant fires at most a tick after it, in any queue") {
    using namespace std::chrono_literals;
    std::vector<int> order;
    coro::TimerQueue first, second;
    Recorder timer{order, 1}, other{order, 2};
    first.arm_by(timer, start + 10ms + 1ns);
    first.arm(other, start + 11ms);
    first.arm_by(timer, start + 11ms);  // the same tick: it keeps its place before the other
    first.fire(start + 11ms);
    CHECK(order == std::vector{1, 2});
    first.arm_by(timer, start + 20ms);
    second.arm_by(timer, start + 20ms);
    CHECK(first.size() == 0);
    second.arm_by(timer, start + 19ms + 1ns);
    second.fire(start + 20ms);
    CHECK(order == std::vector{1, 2, 1});
}

TEST_CASE("a heap of random timers with random removals fires in order") {
    std::mt19937 random{12345};
    std::vector<int> order;
    coro::TimerQueue queue;
    std::vector<std::unique_ptr<Recorder>> timers;
    std::vector<int> expected;
    for (int i = 0; i < 5'000; ++i) {
        const int due = static_cast<int>(random() % 10'000);
        timers.push_back(std::make_unique<Recorder>(order, due));
        queue.arm(*timers.back(), at(due));
    }
    for (auto& timer : timers) {
        if (random() % 3 == 0)
            timer->disarm();
        else
            expected.push_back(timer->id);
    }
    std::ranges::sort(expected);
    for (int now_ms = 0; now_ms <= 10'000; now_ms += 7) queue.fire(at(now_ms));
    CHECK(order == expected);
    CHECK(queue.size() == 0);
}
