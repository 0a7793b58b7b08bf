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
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <system_error>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "children.h"

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t rows = 12;

// What the processes of a test share.
struct Table {
    std::array<OwnerRow, rows> owners;
    alignas(128) LockCell cell;
    alignas(128) std::uint64_t inside;  // how many are in the section
    std::uint64_t broken;               // how often it was not one
    std::uint64_t sum;
    std::uint64_t go;
    std::array<std::uint64_t, rows> turns;
    std::array<std::uint64_t, rows> longest_ns;
};

class Shared {
public:
    Shared() {
        void* memory = ::mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        table_ = new (memory) Table{};
    }
    ~Shared() { ::munmap(table_, sizeof(Table)); }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    Table& operator*() const { return *table_; }
    Table* operator->() const { return table_; }
    Owners owners() const { return {table_->owners.data(), rows}; }
    Lock lock(std::uint32_t row) const {
        return {table_->cell, owners(), owners().admit(row, {row, 1}).value()};
    }

private:
    Table* table_;
};

using testing::end_of;
using testing::start;

std::uint64_t load(std::uint64_t& word) {
    return std::atomic_ref{word}.load(std::memory_order_acquire);
}

// Waits for another process, with a deadline.
void await(const std::function<bool()>& condition) {
    const Instant end = now() + 20s;
    while (!condition()) {
        REQUIRE(now() < end);
        ::usleep(100);
    }
}

// A child that takes the lock and keeps it until it is killed.
pid_t start_holder(const Shared& shared, std::uint32_t row) {
    const Lock lock = shared.lock(row);
    const pid_t child = start([&] {
        const Guard guard = lock.lock().value();
        std::atomic_ref{shared->go}.store(1, std::memory_order_release);
        for (;;) ::pause();
    });
    await([&] { return load(shared->go) == 1; });
    return child;
}

}  // namespace

TEST_CASE("a lock excludes, and is free again when its guard ends") {
    const Shared shared;
    const Lock one = shared.lock(0);
    const Lock two = shared.lock(1);
    {
        Guard guard = one.lock().value();
        REQUIRE_FALSE(guard.recovered());
        REQUIRE_FALSE(two.try_lock());
        REQUIRE(two.lock_for(5ms).error().is(std::errc::timed_out));
        const Guard moved = std::move(guard);
        REQUIRE_FALSE(two.try_lock());
    }
    std::optional<Guard> guard = two.try_lock();
    REQUIRE(guard);
    REQUIRE_FALSE(one.try_lock());
    guard->unlock();
    guard->unlock();
    REQUIRE(one.try_lock());
}

TEST_CASE("a lock that its caller holds already is a deadlock, said at once") {
    const Shared shared;
    const Lock lock = shared.lock(0);
    const Guard guard = lock.lock().value();
    REQUIRE(lock.lock().error().is(std::errc::resource_deadlock_would_occur));
}

TEST_CASE("a word that no owner wrote is an error, not a wait") {
    const Shared shared;
    const Lock lock = shared.lock(0);
    for (const std::uint32_t word : {rows + 1, rows + 2, 0x7ffU, 1U << 11, 0x3fff'f800U}) {
        shared->cell.word = word;
        REQUIRE(lock.lock().error().is(std::errc::bad_message));
    }
}

TEST_CASE("processes that add under a lock lose nothing") {
    const Shared shared;
    constexpr std::uint64_t turns = 200'000;
    std::vector<pid_t> children;
    for (std::uint32_t row = 0; row < 4; ++row) {
        const Lock lock = shared.lock(row);
        children.push_back(start([&shared, lock] {
            for (std::uint64_t turn = 0; turn < turns; ++turn) {
                const Guard guard = lock.lock_for(20s).value();
                if (++shared->inside != 1) ++shared->broken;
                ++shared->sum;
                --shared->inside;
            }
        }));
    }
    for (const pid_t child : children) REQUIRE(end_of(child) == 0);
    REQUIRE(shared->sum == 4 * turns);
    REQUIRE(shared->broken == 0);
}

TEST_CASE("the lock of a killed process is taken by a waiter once it is buried, and not before") {
    const Shared shared;
    const pid_t child = start_holder(shared, 3);
    const Lock lock = shared.lock(0);
    ::kill(child, SIGKILL);
    end_of(child);
    REQUIRE(lock.lock_for(60ms).error().is(std::errc::timed_out));
    shared.owners().bury(3);
    const Instant begin = now();
    const Guard guard = lock.lock().value();
    REQUIRE(now() - begin < 5s);
    REQUIRE(guard.recovered());
    REQUIRE(lock.recoveries() == 1);
}

TEST_CASE("one that waits already goes on soon after the burial") {
    const Shared shared;
    const pid_t holder = start_holder(shared, 3);
    const Lock lock = shared.lock(0);
    const pid_t waiter = start([&] {
        const Guard guard = lock.lock_for(20s).value();
        shared->sum = static_cast<std::uint64_t>(now().time_since_epoch().count());
        ::_exit(guard.recovered() ? 0 : 1);
    });
    await([&] { return (std::atomic_ref{shared->cell.word}.load() & 1U << 31) != 0; });
    ::kill(holder, SIGKILL);
    end_of(holder);
    const auto buried = static_cast<std::uint64_t>(now().time_since_epoch().count());
    shared.owners().bury(3);
    REQUIRE(end_of(waiter) == 0);
    REQUIRE(shared->sum - buried < 5'000'000'000);
}

TEST_CASE("the master takes a dead owner's lock, and leaves a living one's alone") {
    const Shared shared;
    const pid_t child = start_holder(shared, 3);
    const Lock master = shared.lock(0);
    REQUIRE_FALSE(master.take_from_dead(3));  // not buried
    ::kill(child, SIGKILL);
    end_of(child);
    shared.owners().bury(3);
    REQUIRE_FALSE(master.take_from_dead(2));
    {
        const std::optional<Guard> guard = master.take_from_dead(3);
        REQUIRE(guard);
        REQUIRE(guard->recovered());
    }
    REQUIRE_FALSE(master.take_from_dead(3));
    REQUIRE_FALSE(master.try_lock()->recovered());
}

TEST_CASE("the row's next owner is not mistaken for the one that died") {
    const Shared shared;
    const pid_t child = start_holder(shared, 3);
    ::kill(child, SIGKILL);
    end_of(child);
    shared.owners().bury(3);
    const Lock next = shared.lock(3);
    const Guard guard = next.lock().value();
    REQUIRE(guard.recovered());
}

TEST_CASE("a stopped owner keeps its lock until it goes on") {
    const Shared shared;
    const Lock lock = shared.lock(0);
    const Lock other = shared.lock(3);
    const pid_t child = start([&] {
        {
            const Guard guard = other.lock().value();
            std::atomic_ref{shared->go}.store(1, std::memory_order_release);
            ::raise(SIGSTOP);
        }
    });
    int status = 0;
    REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
    REQUIRE(WIFSTOPPED(status));
    REQUIRE(lock.lock_for(60ms).error().is(std::errc::timed_out));
    ::kill(child, SIGCONT);
    REQUIRE_FALSE(lock.lock_for(20s).value().recovered());
    REQUIRE(end_of(child) == 0);
}

TEST_CASE("a wake-up that is lost with the one it was for delays the next one, no more") {
    const Shared shared;
    const Lock lock = shared.lock(0);
    const Lock next = shared.lock(2);
    std::optional<Guard> guard = lock.try_lock();
    const pid_t child = start([&] { static_cast<void>(next.lock_for(20s).value()); });
    await([&] { return (std::atomic_ref{shared->cell.word}.load() & 1U << 31) != 0; });
    // Let go of, and nobody woken: as if the one who was has died.
    std::atomic_ref{shared->cell.word}.store(0);
    const Instant begin = now();
    REQUIRE(end_of(child) == 0);
    REQUIRE(now() - begin < 10s);
}

TEST_CASE("one that waits gets its turn although others never pause") {
    const Shared shared;
    constexpr std::uint32_t greedy = 6;
    std::vector<pid_t> children;
    for (std::uint32_t row = 0; row < greedy; ++row) {
        const Lock lock = shared.lock(row);
        children.push_back(start([&shared, lock, row] {
            while (load(shared->go) == 0) {
                const Instant begin = now();
                const Guard guard = lock.lock_for(20s).value();
                const auto waited = static_cast<std::uint64_t>((now() - begin).count());
                shared->longest_ns[row] = std::max(shared->longest_ns[row], waited);
                std::atomic_ref{shared->turns[row]}.store(shared->turns[row] + 1);
            }
        }));
    }
    await([&] {
        return std::all_of(shared->turns.begin(), shared->turns.begin() + greedy,
                           [](std::uint64_t& turns) { return load(turns) >= 50'000; });
    });
    std::atomic_ref{shared->go}.store(1);
    for (const pid_t child : children) REQUIRE(end_of(child) == 0);
    if (std::getenv("RINGFORT_SHM_EFFORT") != nullptr)
        for (std::uint32_t row = 0; row < greedy; ++row)
            WARN(shared->turns[row] << " turns, the longest wait "
                                    << shared->longest_ns[row] / 1'000 << " us");
    for (std::uint32_t row = 0; row < greedy; ++row)
        CHECK(shared->longest_ns[row] < 10'000'000'000);
}

TEST_CASE("a waiter that is given up lets go of the lock") {
    const Shared shared;
    const Lock lock = shared.lock(0);
    {
        LockWaiter waiter{lock};
        waiter.attempt().value();
        REQUIRE_FALSE(lock.try_lock());
    }
    REQUIRE(lock.try_lock());
}

TEST_CASE("a newcomer stands back while somebody has lost patience") {
    const Shared shared;
    const Lock holder = shared.lock(0);
    const Lock waiting = shared.lock(1);
    const Lock newcomer = shared.lock(2);
    std::optional<Guard> guard = holder.try_lock();
    LockWaiter waiter{waiting};
    waiter.attempt().value();
    REQUIRE_FALSE(waiter.taken());
    REQUIRE(waiter.expected() == *waiting.word());
    const Instant end = now() + limits::lock_patience_us;
    while (now() < end) ::usleep(100);
    waiter.woken();
    waiter.attempt().value();
    REQUIRE_FALSE(waiter.taken());
    guard.reset();  // nobody sleeps in the kernel, so the bar falls with it
    REQUIRE(newcomer.try_lock());

    // The same with the bar left standing, as it is while somebody sleeps.
    std::atomic_ref{shared->cell.word}.store(1U << 30);
    REQUIRE_FALSE(newcomer.try_lock());
    LockWaiter late{newcomer};
    late.attempt().value();
    REQUIRE_FALSE(late.taken());
    waiter.woken();
    waiter.attempt().value();
    std::optional<Guard> turn = waiter.taken();
    REQUIRE(turn);
    REQUIRE_FALSE(turn->recovered());
    REQUIRE((*waiting.word() & 1U << 30) == 0);
    turn.reset();
    late.attempt().value();
    REQUIRE(late.taken());
}

TEST_CASE("who waits for no longer takes a free lock that somebody who has died has barred") {
    const Shared shared;
    const Lock lock = shared.lock(0);
    std::atomic_ref{shared->cell.word}.store(1U << 30);
    REQUIRE(lock.lock_for(0ms));
}

TEST_CASE("who gives up waiting keeps newcomers out no longer") {
    const Shared shared;
    const Lock holder = shared.lock(0);
    const Lock waiting = shared.lock(1);
    std::optional<Guard> guard = holder.try_lock();
    REQUIRE(waiting.lock_for(60ms).error().is(std::errc::timed_out));
    REQUIRE((*holder.word() & 1U << 30) == 0);
    guard.reset();
    REQUIRE(holder.try_lock());
}
