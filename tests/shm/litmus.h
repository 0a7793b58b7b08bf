/// What two processors may see of each other's changes, on the types themselves: message passing,
/// store buffering and load buffering, as in litmus tests. Here they are two threads, each with an
/// owner of its own, once with one mapping, which the thread sanitizer can watch, and once with
/// two, as processes have them. A machine that orders more than it has to shows less than another
/// one might: why each order is enough stands where it is asked for. Include it after the imports.
#pragma once
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "place.h"

namespace testing {

// For so long each of them goes on, a million rounds and more where nobody else wants the
// processors.
inline ringfort::Milliseconds duration() {
    const char* effort = std::getenv("RINGFORT_SHM_EFFORT");
    return ringfort::Milliseconds{100} * (effort == nullptr ? 1 : std::max(1, std::atoi(effort)));
}

// Two owners of one pool.
class Two {
public:
    Two()
        : here_{testing::place(1 << 18, 4)},
          other_{two_mappings() ? std::optional{ringfort::shm::Zone::attach(
                                                    ringfort::duplicate(here_.zone.fd()).value())
                                                    .value()}
                                : std::nullopt},
          left{ringfort::shm::Pool::attach(here_.zone, here_.pool.admit(0, {}).value()).value()},
          right{ringfort::shm::Pool::attach(other_ ? *other_ : here_.zone,
                                            here_.pool.admit(1, {}).value())
                    .value()} {}

private:
    // The thread sanitizer takes two addresses for two words, and what is handed over through them
    // for a race.
    static bool two_mappings() {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
        return false;
#endif
#endif
        return GENERATE(false, true);
    }

    testing::Place here_;
    std::optional<ringfort::shm::Zone> other_;

public:
    ringfort::shm::Pool left;
    ringfort::shm::Pool right;
};

// What each of them has seen in each round.
struct Seen {
    std::vector<std::uint64_t> left;
    std::vector<std::uint64_t> right;
};

// Lets two threads do something at about the same time, over and over. They meet before each round,
// with no more order between them than that.
inline Seen meet(const std::function<std::uint64_t(std::uint64_t)>& left,
                 const std::function<std::uint64_t(std::uint64_t)>& right) {
    struct alignas(128) Place {
        std::atomic<std::uint64_t> round{0};
    };
    std::array<Place, 2> places;
    std::atomic<std::uint64_t> last{~std::uint64_t{0}};
    const auto comes = [&](std::size_t other, std::uint64_t round) {
        for (int looks = 0; places[other].round.load(std::memory_order_acquire) < round;)
            if (++looks % 64 == 0) ::sched_yield();
        return round <= last.load(std::memory_order_relaxed);
    };
    Seen seen{{0}, {0}};
    std::thread other{[&] {
        for (std::uint64_t round = 1;; ++round) {
            places[1].round.store(round, std::memory_order_release);
            if (!comes(0, round)) return;
            seen.right.push_back(right(round));
        }
    }};
    const ringfort::Instant end = ringfort::now() + duration();
    for (std::uint64_t round = 1;; ++round) {
        if (ringfort::now() > end) last.store(round - 1, std::memory_order_relaxed);
        places[0].round.store(round, std::memory_order_release);
        if (!comes(1, round)) break;
        seen.left.push_back(left(round));
    }
    other.join();
    REQUIRE(seen.left.size() == seen.right.size());
    return seen;
}

// One that goes on changing something, for the nth time, while the other one looks whether what it
// sees is whole and not older than what it has seen. Returns how many changes there were.
inline std::uint64_t race(const std::function<void(std::uint64_t)>& change,
                          const std::function<bool()>& look) {
    std::atomic<bool> over{false};
    std::uint64_t wrong = 0;
    std::thread other{[&] {
        while (!over.load(std::memory_order_relaxed)) wrong += look() ? 0 : 1;
    }};
    const ringfort::Instant end = ringfort::now() + duration();
    std::uint64_t changes = 0;
    while (changes % 64 != 0 || ringfort::now() < end) change(++changes);
    over.store(true);
    other.join();
    REQUIRE(wrong == 0);
    return changes;
}

}  // namespace testing
