// Workers change a map at the same time and are killed at arbitrary moments, and stopped now and
// then. Each has keys of its own and keeps a diary of them, so that what the map holds can be told.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>

import ringfort.base;
import ringfort.shm;

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

using Texts = MapOf<std::string, std::string>;

constexpr std::uint32_t workers = 4;
constexpr std::uint32_t keys = 24;
constexpr std::uint32_t nothing_begun = ~0U;

// What a worker knows of its keys; read by the master when the worker is dead. 0: not there.
struct Diary {
    std::array<std::uint64_t, keys> values;
    std::uint64_t begun_value;
    std::uint32_t begun;  // the key that is being changed
    std::uint32_t unused;
    std::uint64_t changes;
};

struct Diaries {
    std::array<Diary, workers> of;
};

std::string key_of(std::uint32_t row, std::uint32_t key) {
    return std::to_string(row) + "/" + std::string(key, 'k');
}

std::string value_of_number(std::uint64_t number) {
    return std::to_string(number) + std::string(number % 7 == 0 ? number % 900 : number % 90, 'v');
}

template <class T>
void note(T& field, T value) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    std::atomic_ref{field}.store(value, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Until it is killed.
[[noreturn]] void work(const Pool& pool, Diary& diary, std::uint64_t seed) {
    const Result<Texts> map = Texts::open(pool, 0);
    if (!map) ::_exit(10);
    std::mt19937_64 random{seed};
    for (;;) {
        const auto key = static_cast<std::uint32_t>(random() % keys);
        const std::uint64_t value = random() % 3 == 0 ? 0 : diary.changes * 16 + random() % 16 + 1;
        note(diary.begun_value, value);
        note(diary.begun, key);
        const std::string name = key_of(pool.self().row, key);
        if (value == 0) {
            if (!map->erase(name)) ::_exit(11);
        } else if (!map->put(name, value_of_number(value))) {
            ::_exit(12);
        }
        note(diary.values[key], value);
        note(diary.begun, nothing_begun);
        note(diary.changes, diary.changes + 1);
        const std::uint32_t other = (pool.self().row + 1) % workers;
        if (!map->get(key_of(other, key))) ::_exit(13);
    }
}

class Master {
public:
    explicit Master(std::uint64_t seed)
        : random_{seed},
          zone_{Zone::create("kills", "pool/1", Pool::zone_size(workers, Bytes{1 << 19})).value()},
          pool_{Pool::format(zone_, workers).value()},
          map_{Texts::create(pool_, 0, {.buckets = 16}).value()} {
        void* memory = ::mmap(nullptr, sizeof(Diaries), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        diaries_ = new (memory) Diaries{};
        for (Diary& diary : diaries_->of) diary.begun = nothing_begun;
        for (std::uint32_t row = 0; row < workers; ++row) spawn(row);
    }
    ~Master() {
        for (std::uint32_t row = 0; row < workers; ++row) {
            ::kill(pids_[row], SIGKILL);
            ::waitpid(pids_[row], nullptr, 0);
        }
        ::munmap(diaries_, sizeof(Diaries));
    }
    Master(const Master&) = delete;
    Master& operator=(const Master&) = delete;

    // Kills one, recovers, and compares what it had with its diary.
    void kill_one() {
        ::usleep(static_cast<useconds_t>(random_() % 1'500));
        const auto row = static_cast<std::uint32_t>(random_() % workers);
        if (random_() % 8 == 0) ::kill(pids_[row], SIGSTOP);
        ::kill(pids_[row], SIGKILL);
        int status = 0;
        REQUIRE(::waitpid(pids_[row], &status, 0) == pids_[row]);
        REQUIRE(WIFSIGNALED(status));
        const Instant begin = now();
        if (random_() % 2 == 0) {
            recovered_ += pool_.bury(row).value() ? 1 : 0;
        } else {
            pool_.owners().bury(row);
        }
        compare(row);
        // What is read needs no lock; who next asks for it takes it from the dead.
        static_cast<void>(map_.size().value());
        REQUIRE(now() - begin < 10s);
        REQUIRE_FALSE(pool_.bury(row).value());
        spawn(row);
    }

    void check() { pool_.check().value(); }
    std::uint64_t recoveries() const { return pool_.lock().recoveries(); }
    std::uint64_t changes() const {
        std::uint64_t all = 0;
        for (const Diary& diary : diaries_->of) all += diary.changes;
        return all;
    }

private:
    void spawn(std::uint32_t row) {
        const Owner owner = pool_.admit(row, {row, 1}).value();
        const std::uint64_t seed = random_();
        pids_[row] = ::fork();
        REQUIRE(pids_[row] >= 0);
        if (pids_[row] == 0) {
            const Result<Pool> pool = Pool::attach(zone_, owner);
            if (!pool) ::_exit(9);
            work(*pool, diaries_->of[row], seed);
        }
    }

    void compare(std::uint32_t row) {
        Diary& diary = diaries_->of[row];
        for (std::uint32_t key = 0; key < keys; ++key) {
            const auto found = map_.get(key_of(row, key)).value();
            const auto is = [&](std::uint64_t value) {
                return value == 0 ? !found : found && *found == value_of_number(value);
            };
            INFO("row " << row << " key " << key << " holds " << found.value_or("nothing"));
            if (diary.begun == key && is(diary.begun_value)) diary.values[key] = diary.begun_value;
            if (!is(diary.values[key])) FAIL("expected " << diary.values[key]);
        }
        diary.begun = nothing_begun;
    }

    std::mt19937_64 random_;
    Zone zone_;
    Pool pool_;
    Texts map_;
    Diaries* diaries_ = nullptr;
    std::array<pid_t, workers> pids_{};
    std::uint64_t recovered_ = 0;
};

}  // namespace

TEST_CASE(
    "a map that workers change at the same time survives that they are killed at any moment") {
    const char* text = std::getenv("RINGFORT_SHM_EFFORT");
    const int rounds = 150 * (text == nullptr ? 1 : std::max(1, std::atoi(text)));
    Master master{20'261'128};
    for (int round = 0; round < rounds; ++round) {
        INFO("round " << round);
        master.kill_one();
        if (round % 16 == 0) master.check();
    }
    master.check();
    REQUIRE(master.changes() > 1'000);
    if (text != nullptr)
        WARN(rounds << " kills, " << master.changes() << " changes, " << master.recoveries()
                    << " recoveries");
}
