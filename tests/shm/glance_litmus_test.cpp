// See litmus.h.
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

namespace {

using Numbers = MapOf<std::uint64_t, std::uint64_t>;

struct Several {
    std::array<std::uint64_t, 4> all;
};

/// Two values, as either side has them.
struct Values {
    SeqValue<std::uint64_t> one, another, one_there, another_there;
};

Values values(const Two& two) {
    return {SeqValue<std::uint64_t>::create(two.left, 0, 0).value(),
            SeqValue<std::uint64_t>::create(two.left, 1, 0).value(),
            SeqValue<std::uint64_t>::open(two.right, 0).value(),
            SeqValue<std::uint64_t>::open(two.right, 1).value()};
}

/// A map with so many entries, as either side has it.
std::pair<Numbers, Numbers> numbers(const Two& two, std::uint64_t keys) {
    auto ours = Numbers::create(two.left, 0, {.buckets = 4}).value();
    for (std::uint64_t key = 0; key < keys; ++key) ours.put(key, 0).value();
    return {std::move(ours), Numbers::open(two.right, 0).value()};
}

}  // namespace

TEST_CASE("message passing: who sees what was published sees what was changed before it") {
    Two two;
    const auto counters = Counters::open_or_create(two.left, 3, 1).value();
    const auto counters_there = Counters::open_or_create(two.right, 3, 1).value();
    SECTION("by a value") {
        const auto ours = SeqValue<Several>::create(two.left, 0, {}).value();
        const auto theirs = SeqValue<Several>::open(two.right, 0).value();
        std::uint64_t last = 0;
        race(
            [&](std::uint64_t n) {
                counters.set(0, 0, n);
                ours.store({{n, n, n, n}}).value();
            },
            [&] {
                const std::array<std::uint64_t, 4> all = theirs.load().value().all;
                const std::uint64_t counted = counters_there.get(0, 0);
                const bool right =
                    std::ranges::count(all, all[0]) == 4 && all[0] >= last && counted >= all[0];
                last = all[0];
                return right;
            });
    }
    SECTION("by an entry of a map, looked at without the lock") {
        const auto [ours, theirs] = numbers(two, 3);
        race(
            [&](std::uint64_t n) {
                counters.set(0, 0, n);
                ours.put(0, n).value();
                Transaction both = two.left.begin().value();
                ours.put(both, 1, n).value();
                ours.put(both, 2, n).value();
                both.commit().value();
            },
            [&] {
                // In the order from the last change to the first: none may be older.
                const std::uint64_t second = theirs.get(2).value().value();
                const std::uint64_t first = theirs.get(1).value().value();
                const std::uint64_t before = theirs.get(0).value().value();
                return second <= first && first <= before && before <= counters_there.get(0, 0);
            });
    }
    SECTION("by an entry of a map that is another one each time, in blocks that are used again") {
        using Texts = MapOf<std::string, std::string>;
        const auto text = [](std::uint64_t n) {
            return std::to_string(n) + std::string(n * 37 % 200, '.');
        };
        const auto ours = Texts::create(two.left, 0, {.buckets = 4}).value();
        for (const char* key : {"one", "two"}) ours.put(key, text(0)).value();
        const auto theirs = Texts::open(two.right, 0).value();
        race(
            [&](std::uint64_t n) {
                counters.set(0, 0, n);
                ours.put("one", text(n)).value();
                ours.put("two", text(n)).value();
            },
            [&] {
                const std::string second = theirs.get("two").value().value();
                const std::string first = theirs.get("one").value().value();
                const std::uint64_t later = std::stoull(first);
                return second == text(std::stoull(second)) && first == text(later) &&
                       std::stoull(second) <= later && later <= counters_there.get(0, 0);
            });
    }
}

TEST_CASE("store buffering: of two who change one thing and look at another one sees the other's") {
    Two two;
    Seen seen;
    SECTION("values") {
        const auto [one, another, one_there, another_there] = values(two);
        seen = meet(
            [&](std::uint64_t round) {
                one.store(round).value();
                return another.load().value();
            },
            [&](std::uint64_t round) {
                another_there.store(round).value();
                return one_there.load().value();
            });
    }
    SECTION("entries of a map, looked at without the lock") {
        const auto [ours, theirs] = numbers(two, 2);
        seen = meet(
            [&](std::uint64_t round) {
                ours.put(0, round).value();
                return ours.get(1).value().value();
            },
            [&](std::uint64_t round) {
                theirs.put(1, round).value();
                return theirs.get(0).value().value();
            });
    }
    for (std::uint64_t round = 1; round < seen.left.size(); ++round)
        if (seen.left[round] < round && seen.right[round] < round)
            FAIL("in round " << round << " neither saw the other's");
}

TEST_CASE("load buffering: nobody sees what is changed only after he was seen") {
    Two two;
    Seen seen;
    SECTION("values") {
        const auto [one, another, one_there, another_there] = values(two);
        seen = meet(
            [&](std::uint64_t round) {
                const std::uint64_t found = another.load().value();
                one.store(round).value();
                return found;
            },
            [&](std::uint64_t round) {
                const std::uint64_t found = one_there.load().value();
                another_there.store(round).value();
                return found;
            });
    }
    SECTION("entries of a map, looked at without the lock") {
        const auto [ours, theirs] = numbers(two, 2);
        seen = meet(
            [&](std::uint64_t round) {
                const std::uint64_t found = ours.get(1).value().value();
                ours.put(0, round).value();
                return found;
            },
            [&](std::uint64_t round) {
                const std::uint64_t found = theirs.get(0).value().value();
                theirs.put(1, round).value();
                return found;
            });
    }
    for (std::uint64_t round = 1; round < seen.left.size(); ++round)
        if (seen.left[round] == round && seen.right[round] == round)
            FAIL("in round " << round << " each saw what the other changed afterwards");
}
