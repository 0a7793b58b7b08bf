#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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
#include <new>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "children.h"
#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

using testing::end_of;
using testing::Place;
using testing::place;
using testing::start;

// The queue as one more owner sees it.
Queue as(Place& here, std::uint32_t row, std::uint32_t number = 0) {
    const Pool pool = Pool::attach(here.zone, here.pool.admit(row, {}).value()).value();
    return Queue::open(pool, number).value();
}

/// Counts waits that took as long as one whose wake-up was lost, which looks again after a second.
/// A busy machine may take so long once, and not again and again.
class Waits {
public:
    void over(Instant begin) { slow_ += now() - begin >= 900ms ? 1 : 0; }
    [[nodiscard]] bool were_woken() const { return slow_ <= 2; }

private:
    int slow_ = 0;
};

}  // namespace

TEST_CASE("who waits for a message, or for room, waits no longer than it is to") {
    const Place here = place(1 << 16, 4);
    const Queue queue = Queue::create(here.pool, 0, Bytes{64}).value();
    const std::string long_one(56, 'x');
    for (const Milliseconds limit : {0ms, 5ms}) {
        const Instant begin = now();
        REQUIRE(queue.pop_for(limit).error().is(std::errc::timed_out));
        REQUIRE(now() - begin >= limit);
        REQUIRE(now() - begin < 10s);
    }
    queue.push_for(bytes_of(long_one), 0ms).value();
    for (const Milliseconds limit : {0ms, 5ms})
        REQUIRE(
            queue.push_for(bytes_of(std::string_view{}), limit).error().is(std::errc::timed_out));
    REQUIRE(
        queue.push_for(bytes_of(std::string(57, 'x')), 20s).error().is(std::errc::message_size));
    REQUIRE(value_of<std::string>(queue.pop_for(0ms).value()).value() == long_one);
}

TEST_CASE("two processes that wait for each other's messages go on at once") {
    Place here = place(1 << 16, 4);
    const Queue there = Queue::create(here.pool, 0, Bytes{64}).value();
    const Queue back = Queue::create(here.pool, 1, Bytes{64}).value();
    const Pool other = Pool::attach(here.zone, here.pool.admit(0, {}).value()).value();
    constexpr std::uint64_t turns = 500;
    const pid_t child = start([&] {
        const Queue in = Queue::open(other, 0).value();
        const Queue out = Queue::open(other, 1).value();
        for (std::uint64_t turn = 0; turn < turns; ++turn) {
            const auto message = in.pop_for(20s);
            if (!message || !out.push_for(*message, 20s)) ::_exit(1);
        }
    });
    Waits waits;
    for (std::uint64_t turn = 0; turn < turns && waits.were_woken(); ++turn) {
        const Instant begin = now();
        there.push_for(bytes_of(turn), 20s).value();
        REQUIRE(value_of<std::uint64_t>(back.pop_for(20s).value()).value() == turn);
        waits.over(begin);
    }
    REQUIRE(waits.were_woken());
    REQUIRE(end_of(child) == 0);
}

TEST_CASE("a producer that fills a small queue waits for room, and is woken when there is some") {
    Place here = place(1 << 16, 4);
    const Queue queue = Queue::create(here.pool, 0, Bytes{64}).value();
    constexpr std::uint64_t count = 4'000;
    std::array<pid_t, 2> children{};
    for (std::uint32_t row = 0; row < 2; ++row) {
        const Queue own = as(here, row);
        children[row] = start([&] {
            for (std::uint64_t n = 0; n < count; ++n)
                if (!own.push_for(bytes_of(n * 2 + row), 20s)) ::_exit(1);
        });
    }
    Waits waits;
    std::array<std::uint64_t, 2> next{};
    for (std::uint64_t got = 0; got < 2 * count && waits.were_woken(); ++got) {
        const Instant begin = now();
        const auto number = value_of<std::uint64_t>(queue.pop_for(20s).value()).value();
        REQUIRE(number / 2 == next[number % 2]++);
        waits.over(begin);
    }
    REQUIRE(waits.were_woken());
    for (const pid_t child : children) REQUIRE(end_of(child) == 0);
}

TEST_CASE("within 100 ms of a burial messages go on, whoever was killed while others slept") {
    Place here = place(1 << 16, 4);
    static_cast<void>(Queue::create(here.pool, 0, Bytes{64}).value());
    void* memory = ::mmap(nullptr, sizeof(std::uint64_t), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    const std::atomic_ref taken{*new (memory) std::uint64_t{0}};
    std::array<pid_t, 4> pids{};
    const auto begin = [&](std::uint32_t row) {
        const Queue queue = as(here, row);
        pids[row] = start([&queue, taken, row] {
            for (std::uint64_t n = 0;; ++n) {
                if (row < 2 ? !queue.push_for(bytes_of(n), 20s) : !queue.pop_for(20s)) ::_exit(1);
                if (row >= 2) taken.fetch_add(1);
            }
        });
    };
    for (std::uint32_t row = 0; row < pids.size(); ++row) begin(row);
    std::mt19937 random{5};
    std::vector<std::chrono::nanoseconds> delays;
    Waits waits;
    for (int round = 0; round < 60; ++round) {
        ::usleep(random() % 2'000);
        const std::uint32_t row = random() % pids.size();
        ::kill(pids[row], SIGKILL);
        REQUIRE(WIFSIGNALED(end_of(pids[row])));
        static_cast<void>(here.pool.bury(row).value());
        const Instant buried = now();
        for (Healer healer{here.pool}; healer.step().value() != Healing::through;) {
        }
        // The other one of its kind goes on.
        const std::uint64_t before = taken.load();
        while (taken.load() < before + 4) {
            if (now() - buried > 20s) FAIL("nothing is taken any more");
            ::usleep(50);
        }
        delays.push_back(now() - buried);
        waits.over(buried);
        begin(row);
    }
    for (const pid_t pid : pids) {
        ::kill(pid, SIGKILL);
        end_of(pid);
    }
    ::munmap(memory, sizeof(std::uint64_t));
    std::ranges::sort(delays);
    INFO("the longest: " << delays.back().count() / 1'000 << " us");
    REQUIRE(delays[delays.size() / 2] < 100ms);
    REQUIRE(waits.were_woken());
}
