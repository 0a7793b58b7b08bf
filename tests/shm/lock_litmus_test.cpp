// See litmus.h.
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "litmus.h"

using namespace ringfort;
using namespace ringfort::shm;

using testing::meet;
using testing::race;
using testing::Seen;
using testing::Two;

TEST_CASE("message passing: who takes a message sees what was changed before it was put in") {
    Two two;
    const auto counters = Counters::open_or_create(two.left, 3, 1).value();
    const auto counters_there = Counters::open_or_create(two.right, 3, 1).value();
    const Queue ours = Queue::create(two.left, 0, Bytes{256}).value();
    const Queue theirs = Queue::open(two.right, 0).value();
    std::uint64_t last = 0;
    race(
        [&](std::uint64_t n) {
            counters.set(0, 0, n);
            if (!ours.push(bytes_of(n))) ::sched_yield();
        },
        [&] {
            const auto message = theirs.pop().value();
            if (!message) return true;
            const std::uint64_t number = value_of<std::uint64_t>(*message).value();
            return number > std::exchange(last, number) && counters_there.get(0, 0) >= number;
        });
}

TEST_CASE("store buffering: who sleeps for a queue has seen what is put in, or is seen") {
    Two two;
    const Queue ours = Queue::create(two.left, 0, Bytes{256}).value();
    const Queue theirs = Queue::open(two.right, 0).value();
    QueueWait wait;
    const Seen seen = meet(
        [&](std::uint64_t) {
            // Would it sleep now, though there is a message?
            std::uint64_t forgotten = 0;
            for (bool first = true, more = true; more; first = false) {
                Transaction transaction = two.left.begin().value();
                const bool asleep =
                    first && wait.word != nullptr &&
                    std::atomic_ref{*wait.word}.load(std::memory_order_relaxed) == wait.expected;
                more = ours.pop(transaction).has_value();
                if (asleep && more) forgotten = 1;
                if (!more) wait = ours.wait_for_message(transaction);
                transaction.commit().value();
            }
            return forgotten;
        },
        [&](std::uint64_t round) {
            theirs.push(bytes_of(round)).value();
            return std::uint64_t{0};
        });
    REQUIRE(std::ranges::count(seen.left, 1U) == 0);
}

TEST_CASE("store buffering: readers and a writer of a shared lock see each other") {
    Two two;
    const SharedLock ours = SharedLock::create(two.left, 0).value();
    const SharedLock theirs = SharedLock::open(two.right, 0).value();
    std::uint64_t first = 0;  // plain: what the lock is for
    std::uint64_t second = 0;
    std::uint64_t sum = 0;
    const Seen seen = meet(
        [&](std::uint64_t round) {
            const WriteGuard writing = ours.lock().value();
            first = round;
            second = round;
            return std::uint64_t{0};
        },
        [&](std::uint64_t) {
            const ReadGuard reading = theirs.lock_shared().value();
            const std::uint64_t found = second;
            sum += found;
            return found == first ? std::uint64_t{0} : std::uint64_t{1};
        });
    REQUIRE(std::ranges::count(seen.right, 1U) == 0);
    REQUIRE(sum > 0);
}

TEST_CASE("a lock hands over what is read and changed under it, both ways") {
    Two two;
    std::uint64_t changed = 0;  // plain
    std::uint64_t copy = 0;
    const Lock& ours = two.left.lock();
    const Lock& theirs = two.right.lock();
    const Seen seen = meet(
        [&](std::uint64_t) {
            const Guard guard = ours.lock().value();
            const bool same = changed == copy;
            copy = ++changed;
            return std::uint64_t{same};
        },
        [&](std::uint64_t) {
            const Guard guard = theirs.lock().value();
            const bool same = changed == copy;
            changed = ++copy;
            return std::uint64_t{same};
        });
    for (const auto* each : {&seen.left, &seen.right})
        REQUIRE(std::count(each->begin() + 1, each->end(), 0U) == 0);
    REQUIRE(changed == 2 * (seen.left.size() - 1));
}
