// What two processors may see of each other's changes, on the types themselves: message passing,
// store buffering and load buffering, as in litmus tests. Here they are two
// threads, each with an owner of its own, once with one mapping, which the thread sanitizer can
// watch, and once with two, as processes have them. A machine that orders more than it has to shows
// less than another one might: why each order is enough stands where it is asked for.
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Numbers = MapOf<std::uint64_t, std::uint64_t>;

struct Several {
    std::array<std::uint64_t, 4> all;
};

// For so long each of them goes on, a million rounds and more where nobody else wants the
// processors.
Milliseconds duration() {
    const char* effort = std::getenv("RINGFORT_SHM_EFFORT");
    return Milliseconds{100} * (effort == nullptr ? 1 : std::max(1, std::atoi(effort)));
}

// Two owners of one pool.
class Two {
public:
    Two()
        : here_{testing::place(1 << 18, 4)},
          other_{two_mappings()
                     ? std::optional{Zone::attach(ringfort::duplicate(here_.zone.fd()).value())
                                         .value()}
                     : std::nullopt},
          left{Pool::attach(here_.zone, here_.pool.admit(0, {}).value()).value()},
          right{Pool::attach(other_ ? *other_ : here_.zone, here_.pool.admit(1, {}).value())
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
    std::optional<Zone> other_;

public:
    Pool left;
    Pool right;
};

// What each of them has seen in each round.
struct Seen {
    std::vector<std::uint64_t> left;
    std::vector<std::uint64_t> right;
};

// Lets two threads do something at about the same time, over and over. They meet before each round,
// with no more order between them than that.
Seen meet(const std::function<std::uint64_t(std::uint64_t)>& left,
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
    const Instant end = now() + duration();
    for (std::uint64_t round = 1;; ++round) {
        if (now() > end) last.store(round - 1, std::memory_order_relaxed);
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
std::uint64_t race(const std::function<void(std::uint64_t)>& change,
                   const std::function<bool()>& look) {
    std::atomic<bool> over{false};
    std::uint64_t wrong = 0;
    std::thread other{[&] {
        while (!over.load(std::memory_order_relaxed)) wrong += look() ? 0 : 1;
    }};
    const Instant end = now() + duration();
    std::uint64_t changes = 0;
    while (changes % 64 != 0 || now() < end) change(++changes);
    over.store(true);
    other.join();
    REQUIRE(wrong == 0);
    return changes;
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
        const auto ours = Numbers::create(two.left, 0, {.buckets = 4}).value();
        for (std::uint64_t key = 0; key < 3; ++key) ours.put(key, 0).value();
        const auto theirs = Numbers::open(two.right, 0).value();
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
    SECTION("by a message") {
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
}

TEST_CASE("store buffering: of two who change one thing and look at another one sees the other's") {
    Two two;
    Seen seen;
    SECTION("values") {
        const auto one = SeqValue<std::uint64_t>::create(two.left, 0, 0).value();
        const auto another = SeqValue<std::uint64_t>::create(two.left, 1, 0).value();
        const auto one_there = SeqValue<std::uint64_t>::open(two.right, 0).value();
        const auto another_there = SeqValue<std::uint64_t>::open(two.right, 1).value();
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
        const auto ours = Numbers::create(two.left, 0, {.buckets = 4}).value();
        for (std::uint64_t key = 0; key < 2; ++key) ours.put(key, 0).value();
        const auto theirs = Numbers::open(two.right, 0).value();
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

TEST_CASE("load buffering: nobody sees what is changed only after he was seen") {
    Two two;
    Seen seen;
    SECTION("values") {
        const auto one = SeqValue<std::uint64_t>::create(two.left, 0, 0).value();
        const auto another = SeqValue<std::uint64_t>::create(two.left, 1, 0).value();
        const auto one_there = SeqValue<std::uint64_t>::open(two.right, 0).value();
        const auto another_there = SeqValue<std::uint64_t>::open(two.right, 1).value();
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
        const auto ours = Numbers::create(two.left, 0, {.buckets = 4}).value();
        for (std::uint64_t key = 0; key < 2; ++key) ours.put(key, 0).value();
        const auto theirs = Numbers::open(two.right, 0).value();
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

TEST_CASE("coherence: what is counted is never fewer than before, and none is lost") {
    Two two;
    const auto ours = Counters::open_or_create(two.left, 0, Histogram::columns + 1).value();
    const auto theirs = Counters::open_or_create(two.right, 0, Histogram::columns + 1).value();
    const Histogram histogram = Histogram::of(ours, 1).value();
    const Histogram histogram_there = Histogram::of(theirs, 1).value();
    std::uint64_t last = 0;
    std::uint64_t last_count = 0;
    std::uint64_t looks = 0;
    const std::uint64_t changes = race(
        [&](std::uint64_t n) {
            for (int i = 0; i < 8; ++i) ours.add(0, 0);
            histogram.record(0, n % 100);
        },
        [&] {
            const std::uint64_t found = theirs.get(0, 0);
            bool right = found >= std::exchange(last, found);
            if (++looks % 16 == 0) {
                const std::uint64_t count = histogram_there.count();
                right = right && count >= std::exchange(last_count, count);
            }
            theirs.add(1, 0);  // beside it, in a row of its own
            return right;
        });
    REQUIRE(ours.get(0, 0) == 8 * changes);
    REQUIRE(ours.get(1, 0) == looks);
    REQUIRE(histogram.count() == changes);
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
