#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "children.h"

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t rows = 6;

struct Board {
    std::uint64_t one;
    std::uint64_t two;
    std::uint64_t torn;
    std::uint64_t reads;
    std::uint64_t writes;
    std::uint64_t go;
};

class Place {
public:
    Place()
        : zone_{Zone::create("locks", "pool/1", Pool::zone_size(rows, Bytes{1 << 16})).value()},
          keeper_{Pool::format(zone_, rows).value()} {
        static_cast<void>(SharedLock::create(keeper_, 0).value());
        void* memory = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        board_ = new (memory) Board{};
    }
    ~Place() { ::munmap(board_, sizeof(Board)); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    SharedLock as(std::uint32_t row) {
        const Owner owner = keeper_.admit(row, {}).value();
        return SharedLock::open(Pool::attach(zone_, owner).value(), 0).value();
    }
    SharedLock as_another() {
        static_cast<void>(keeper_.bury(rows - 1));
        return as(rows - 1);
    }
    Pool& keeper() { return keeper_; }
    Board& board() { return *board_; }

private:
    Zone zone_;
    Pool keeper_;
    Board* board_ = nullptr;
};

using testing::end_of;
using testing::start;

void await(std::uint64_t& word) {
    const Instant end = now() + 20s;
    while (std::atomic_ref{word}.load() == 0) {
        if (now() > end) FAIL("no child comes to it");
        ::usleep(100);
    }
}

// A child that holds the lock until it is killed.
template <class Take>
pid_t start_holder(Place& place, const SharedLock& lock, Take take) {
    const pid_t child = start([&] {
        const auto guard = take(lock).value();
        std::atomic_ref{place.board().go}.store(1);
        for (;;) ::pause();
    });
    await(place.board().go);
    return child;
}

const auto read_lock = [](const SharedLock& lock) { return lock.lock_shared(); };
const auto write_lock = [](const SharedLock& lock) { return lock.lock(); };

}  // namespace

TEST_CASE("many read or one writes") {
    Place place;
    const SharedLock one = place.as(0);
    const SharedLock two = place.as(1);
    {
        ReadGuard first = one.lock_shared().value();
        ReadGuard again = one.lock_shared().value();
        const ReadGuard other = two.lock_shared(0ms).value();
        REQUIRE(two.lock(1ms).error().is(std::errc::resource_deadlock_would_occur));
        again.unlock();
        REQUIRE(one.lock(1ms).error().is(std::errc::resource_deadlock_would_occur));
        first.unlock();
        REQUIRE(one.lock(5ms).error().is(std::errc::timed_out));
    }
    {
        const WriteGuard writing = one.lock(5ms).value();
        REQUIRE_FALSE(writing.recovered());
        REQUIRE(two.lock_shared(5ms).error().is(std::errc::timed_out));
        REQUIRE(two.lock(5ms).error().is(std::errc::timed_out));
        REQUIRE(one.lock_shared(5ms).error().is(std::errc::resource_deadlock_would_occur));
        REQUIRE(one.lock(5ms).error().is(std::errc::resource_deadlock_would_occur));
    }
    REQUIRE(two.lock_shared(0ms));
    REQUIRE(two.lock(5ms));
    REQUIRE(SharedLock::create(place.keeper(), 0).error().is(std::errc::file_exists));
    REQUIRE(SharedLock::open(place.keeper(), 1).error().is(std::errc::no_such_file_or_directory));
}

TEST_CASE("a killed reader keeps a writer waiting until it is buried, and no longer") {
    Place place;
    const SharedLock writer = place.as(0);
    const pid_t child = start_holder(place, place.as(1), read_lock);
    ::kill(child, SIGKILL);
    end_of(child);
    REQUIRE(writer.lock(30ms).error().is(std::errc::timed_out));
    REQUIRE_FALSE(place.keeper().bury(1).value());
    const Instant begin = now();
    REQUIRE_FALSE(writer.lock().value().recovered());
    REQUIRE(now() - begin < 5s);
    // Nor is its row's next owner taken for a reader.
    const SharedLock next = place.as(1);
    REQUIRE(next.lock());
}

TEST_CASE("a writer that waits for a reader goes on soon after its burial") {
    Place place;
    const SharedLock writer = place.as(0);
    const pid_t reader = start_holder(place, place.as(1), read_lock);
    const pid_t waiting = start([&] {
        const auto guard = writer.lock(20'000ms);
        place.board().one = static_cast<std::uint64_t>(now().time_since_epoch().count());
        ::_exit(guard ? 0 : 1);
    });
    ::usleep(5'000);
    ::kill(reader, SIGKILL);
    end_of(reader);
    const auto buried = static_cast<std::uint64_t>(now().time_since_epoch().count());
    static_cast<void>(place.keeper().bury(1).value());
    REQUIRE(end_of(waiting) == 0);
    REQUIRE(place.board().one - buried < 5'000'000'000);
}

TEST_CASE(
    "readers are told of a writer that was killed, and the next writer that it is to recover") {
    Place place;
    const SharedLock lock = place.as(0);
    const pid_t child = start_holder(place, place.as(1), write_lock);
    ::kill(child, SIGKILL);
    end_of(child);
    REQUIRE(lock.lock_shared(30ms).error().is(std::errc::timed_out));
    static_cast<void>(place.keeper().bury(1).value());
    REQUIRE(lock.lock_shared(30ms).error().is(std::errc::owner_dead));
    {
        WriteGuard writing = lock.lock().value();
        REQUIRE(writing.recovered());
        writing.repaired();
        REQUIRE_FALSE(writing.recovered());
    }
    REQUIRE_FALSE(lock.lock().value().recovered());
    REQUIRE(lock.lock_shared(0ms));
}

TEST_CASE("a writer that repairs nothing leaves it to the next one, and readers out") {
    Place place;
    const SharedLock lock = place.as(0);
    const pid_t child = start_holder(place, place.as(1), write_lock);
    ::kill(child, SIGKILL);
    end_of(child);
    static_cast<void>(place.keeper().bury(1).value());
    for (int turn = 0; turn < 3; ++turn) {
        REQUIRE(lock.lock().value().recovered());
        REQUIRE(lock.lock_shared(0ms).error().is(std::errc::owner_dead));
    }
    lock.lock().value().repaired();
    REQUIRE(lock.lock_shared(0ms));
}

TEST_CASE("a writer that takes over from a dead one and gives up waiting leaves it to the next") {
    Place place;
    const SharedLock reader = place.as(0);
    const SharedLock second = place.as(2);
    std::optional<ReadGuard> reading = reader.lock_shared().value();
    const SharedLock first = place.as(1);
    const pid_t child = start([&] { static_cast<void>(first.lock(20'000ms)); });
    // The first has the lock, and waits for the reader.
    while (reader.lock_shared(0ms) && place.as_another().lock_shared(0ms)) ::usleep(100);
    ::kill(child, SIGKILL);
    end_of(child);
    static_cast<void>(place.keeper().bury(1).value());
    REQUIRE(second.lock(5ms).error().is(std::errc::timed_out));
    REQUIRE(place.as_another().lock_shared(0ms).error().is(std::errc::owner_dead));
    reading.reset();
    REQUIRE(second.lock().value().recovered());
}

TEST_CASE("a stopped reader is waited for") {
    Place place;
    const SharedLock writer = place.as(0);
    const pid_t child = start_holder(place, place.as(1), read_lock);
    ::kill(child, SIGSTOP);
    int status = 0;
    REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
    REQUIRE(writer.lock(30ms).error().is(std::errc::timed_out));
    REQUIRE(writer.lock_shared(0ms));  // and its wait is undone
    ::kill(child, SIGKILL);
    end_of(child);
}

TEST_CASE("readers and writers that are killed at any moment see each other's work whole") {
    Place place;
    std::mt19937 random{3};
    std::array<pid_t, rows> pids{};
    const auto spawn = [&](std::uint32_t row) {
        const SharedLock lock = place.as(row);
        pids[row] = start([&place, lock, row] {
            Board& board = place.board();
            for (;;) {
                if (row < 2) {
                    auto guard = lock.lock(20'000ms);
                    if (!guard) ::_exit(1);
                    if (guard->recovered()) {
                        board.two = board.one;
                        guard->repaired();
                    }
                    std::atomic_ref{board.one}.store(board.one + 1);
                    std::atomic_ref{board.two}.store(board.one);
                    std::atomic_ref{board.writes}.fetch_add(1);
                } else {
                    const auto guard = lock.lock_shared(20'000ms);
                    if (!guard && guard.error().is(std::errc::owner_dead)) {
                        auto writing = lock.lock(20'000ms);
                        if (!writing) ::_exit(2);
                        if (writing->recovered()) {
                            board.two = board.one;
                            writing->repaired();
                        }
                        continue;
                    }
                    if (!guard) ::_exit(3);
                    const std::uint64_t one = std::atomic_ref{board.one}.load();
                    if (one != std::atomic_ref{board.two}.load())
                        std::atomic_ref{board.torn}.fetch_add(1);
                    std::atomic_ref{board.reads}.fetch_add(1);
                }
            }
        });
    };
    for (std::uint32_t row = 0; row < rows; ++row) spawn(row);
    for (int round = 0; round < 60; ++round) {
        ::usleep(random() % 2'000);
        const std::uint32_t row = random() % rows;
        ::kill(pids[row], SIGKILL);
        REQUIRE(WIFSIGNALED(end_of(pids[row])));
        static_cast<void>(place.keeper().bury(row).value());
        spawn(row);
    }
    // Both have their turn.
    const std::uint64_t reads = std::atomic_ref{place.board().reads}.load();
    const std::uint64_t writes = std::atomic_ref{place.board().writes}.load();
    const Instant end = now() + 20s;
    while (std::atomic_ref{place.board().reads}.load() < reads + 100 ||
           std::atomic_ref{place.board().writes}.load() < writes + 100) {
        if (now() > end) FAIL("readers or writers starve");
        ::usleep(100);
    }
    for (const pid_t pid : pids) {
        ::kill(pid, SIGKILL);
        end_of(pid);
    }
    REQUIRE(place.board().torn == 0);
}
