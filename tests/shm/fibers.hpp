// Several owners in one process, whose turns a seed decides: each goes on until a store of its own,
// where another one may have its turn, or where it is killed. A wait for a futex is a turn of
// others.
#ifndef RINGFORT_TESTS_SHM_FIBERS_HPP
#define RINGFORT_TESTS_SHM_FIBERS_HPP

#include <ucontext.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

namespace fibers {

/// How turns are taken.
struct Odds {
    std::uint32_t turn = 4;      ///< at one step of so many another one goes on
    std::uint32_t kill = 3'000;  ///< at one of so many who goes on is killed
};

/// The owners of a test, one fiber each. One at a time in a process.
class Fibers {
public:
    /// `work` is what an owner does, over and over; `killed` is told of each that was killed, after
    /// which its fiber begins `work` anew.
    Fibers(std::uint32_t count, std::uint64_t seed, Odds odds,
           std::function<void(std::uint32_t)> work, std::function<void(std::uint32_t)> killed);
    ~Fibers();
    Fibers(const Fibers&) = delete;
    Fibers& operator=(const Fibers&) = delete;

    /// Goes on for so many steps, or until something fails; then everybody is killed.
    void run(std::uint64_t steps);

    /// Does something besides, before each turn.
    void set_besides(std::function<void()> besides) { besides_ = std::move(besides); }
    /// Says on which words a sleep ends by a wake-up alone: it is wrong if everybody sleeps so.
    void set_endless(std::function<bool(const std::uint32_t*)> endless) {
        endless_ = std::move(endless);
    }

    /// Notes what is wrong, unless `right`: within an owner's work that goes no further, besides it
    /// no other turn begins.
    void require(bool right, const std::string& what);
    /// Returns what went wrong first; empty: nothing.
    const std::string& failure() const { return failure_; }
    /// Returns a number that follows from the seed.
    std::uint64_t random() { return random_(); }

    std::uint64_t steps() const { return steps_; }
    std::uint64_t kills() const { return kills_; }
    std::uint64_t sleeps() const { return sleeps_; }

private:
    struct Fiber {
        ucontext_t context{};
        std::unique_ptr<std::byte[]> stack;
        bool started = false;
        std::uint32_t* sleeps_on = nullptr;
        std::uint64_t asleep_since = 0;
    };
    enum class End : std::uint8_t { turn, killed, failed };

    static void enter();
    void step();
    void leave(End end);
    void start(Fiber& fiber);
    std::uint32_t choose();
    bool sleeps_for_good(const Fiber& fiber) const;
    bool wait(std::uint32_t* word, std::uint32_t expected);
    long wake(const std::uint32_t* word, int count);

    static constexpr std::uint32_t nobody = ~0U;

    std::function<void(std::uint32_t)> work_;
    std::function<void(std::uint32_t)> killed_;
    std::function<void()> besides_;
    std::function<bool(const std::uint32_t*)> endless_;
    Odds odds_;
    std::mt19937_64 random_;
    std::vector<Fiber> fibers_;
    ucontext_t scheduler_{};
    std::uint32_t current_ = nobody;
    End end_ = End::turn;
    std::string failure_;
    std::uint64_t steps_ = 0;
    std::uint64_t kills_ = 0;
    std::uint64_t sleeps_ = 0;
    std::int64_t time_ns_ = 0;
};

/// What has happened in several worlds, in all.
struct Totals {
    std::uint64_t worlds = 0;
    std::uint64_t steps = 0;
    std::uint64_t kills = 0;
    std::uint64_t sleeps = 0;
};

/// Makes a World of each of `count` seeds, or of the one that RINGFORT_SHM_SEED says, lets it go on
/// for so many steps, and hands it to `look`. Fails the test where something in it does, and says
/// how to replay that.
template <class World, class Look>
Totals run_worlds(std::uint64_t count, std::uint64_t steps, const Look& look) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    SKIP("the thread sanitizer does not know these fibers");
#endif
#endif
    const char* replay = std::getenv("RINGFORT_SHM_SEED");
    const std::uint64_t first = replay == nullptr ? 1 : std::strtoull(replay, nullptr, 10);
    Totals all{.worlds = replay == nullptr ? count : 1};
    for (std::uint64_t seed = first; seed < first + all.worlds; ++seed) {
        INFO("replay with RINGFORT_SHM_SEED=" << seed);
        World world{seed};
        const Fibers& fibers = world.fibers();
        world.fibers().run(steps);
        if (!fibers.failure().empty()) FAIL("step " << fibers.steps() << ": " << fibers.failure());
        look(world);
        all.steps += fibers.steps();
        all.kills += fibers.kills();
        all.sleeps += fibers.sleeps();
    }
    return all;
}

}  // namespace fibers

#endif
