// bench_shm_waits: how long processes wait for a lock that others never pause to take, and how long
// after a kill others have what the killed one held.
// usage: bench_shm_waits
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

namespace {

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

constexpr std::size_t most = 8;
constexpr std::size_t kept = 1 << 16;
constexpr int kills = 60;

// What the processes share besides the pool.
struct Board {
    std::atomic<bool> over;
    std::atomic<bool> holding;
    std::atomic<std::int64_t> moment;
    pthread_mutex_t mutex;
    std::array<std::uint64_t, most> turns;
    std::array<std::array<std::uint32_t, kept>, most> waits_ns;  // the last ones
    std::array<std::uint64_t, most> longest_ns;
};

class Scene {
public:
    Scene()
        : zone_{Zone::create("bench", "pool/1", Pool::zone_size(most, Bytes{1 << 20})).value()},
          keeper_{Pool::format(zone_, most).value()} {
        void* memory = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        board_ = new (memory) Board{};
        pthread_mutexattr_t attributes;
        ::pthread_mutexattr_init(&attributes);
        ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        ::pthread_mutex_init(&board_->mutex, &attributes);
    }
    ~Scene() { ::munmap(board_, sizeof(Board)); }
    Scene(const Scene&) = delete;
    Scene& operator=(const Scene&) = delete;

    Board& board() { return *board_; }
    Pool& keeper() { return keeper_; }
    Pool as(std::uint32_t row) {
        keeper_.owners().bury(row);
        return Pool::attach(zone_, keeper_.admit(row, {}).value()).value();
    }

private:
    Zone zone_;
    Pool keeper_;
    Board* board_ = nullptr;
};

pid_t start(const std::function<void()>& work) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    work();
    ::_exit(0);
}

// Takes and lets go for three seconds, in so many processes, and says how long each of them waited.
void waits(std::string_view text, std::size_t processes,
           const std::function<std::function<void(Instant&)>(Scene&, std::uint32_t)>& section) {
    Scene scene;
    Board& board = scene.board();
    std::vector<pid_t> children;
    for (std::uint32_t row = 0; row < processes; ++row) {
        const auto work = section(scene, row);
        children.push_back(start([&, row] {
            while (!board.over.load(std::memory_order_relaxed)) {
                const Instant begin = now();
                Instant taken;
                work(taken);
                const auto waited = static_cast<std::uint64_t>((taken - begin).count());
                board.waits_ns[row][board.turns[row]++ % kept] =
                    static_cast<std::uint32_t>(std::min<std::uint64_t>(waited, ~0U));
                board.longest_ns[row] = std::max(board.longest_ns[row], waited);
            }
        }));
    }
    ::usleep(3'000'000);
    board.over.store(true);
    for (const pid_t child : children) ::waitpid(child, nullptr, 0);
    std::uint64_t fewest = ~0ULL;
    std::uint64_t turns = 0;
    std::uint64_t median = 0;
    std::vector<std::uint64_t> longest;
    for (std::size_t row = 0; row < processes; ++row) {
        const auto all =
            std::span{board.waits_ns[row]}.first(std::min<std::size_t>(kept, board.turns[row]));
        if (all.empty()) continue;
        std::ranges::nth_element(all, all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2));
        median = std::max<std::uint64_t>(median, all[all.size() / 2]);
        longest.push_back(board.longest_ns[row]);
        fewest = std::min(fewest, board.turns[row]);
        turns += board.turns[row];
    }
    std::ranges::sort(longest);
    fmt::print("| {} | {} | {:.2f} | {:.1f} | {:.1f} | {:.2f} |\n", text, processes,
               static_cast<double>(median) / 1e3, static_cast<double>(longest.front()) / 1e6,
               static_cast<double>(longest.back()) / 1e6,
               static_cast<double>(fewest * processes) / static_cast<double>(turns));
}

// Kills a process that holds something another one waits for, and buries it; how long after the
// kill the other one has it.
template <class Hold, class Wait>
void recovery(std::string_view text, bool by_master, Hold hold, Wait wait) {
    std::vector<double> took;
    for (int n = 0; n < kills; ++n) {
        Scene scene;
        static_cast<void>(SharedLock::create(scene.keeper(), 0).value());
        Board& board = scene.board();
        const Pool first = scene.as(0);
        const Pool second = scene.as(1);
        const pid_t holder = start([&] {
            hold(first, [&] {
                board.holding.store(true);
                for (;;) ::pause();
            });
        });
        while (!board.holding.load()) ::usleep(100);
        const pid_t waiter = start([&] {
            wait(second);
            board.moment.store(now().time_since_epoch().count());
        });
        ::usleep(static_cast<useconds_t>(5'000 + n * 997 % 20'000));
        const Instant killed = now();
        ::kill(holder, SIGKILL);
        ::waitpid(holder, nullptr, 0);
        if (by_master) {
            static_cast<void>(scene.keeper().bury(0).value());
            for (Healer healer{scene.keeper()}; healer.step().value() != Healing::through;) {
            }
        } else {
            scene.keeper().owners().bury(0);
        }
        ::waitpid(waiter, nullptr, 0);
        took.push_back(
            static_cast<double>(board.moment.load() - killed.time_since_epoch().count()) / 1e6);
    }
    std::ranges::sort(took);
    fmt::print("| {}, {} | {:.2f} | {:.1f} |\n", text, by_master ? "by the burial" : "by a waiter",
               took[took.size() / 2], took.back());
}

// Half a transaction, so that there is something to roll back.
void change_half(const Pool& pool, const std::function<void()>& then) {
    Transaction transaction = pool.begin().value();
    for (int n = 0; n < 8; ++n) static_cast<void>(transaction.allocate(64));
    then();
}

}  // namespace

int main() {
    fmt::print(
        "| who takes it without a pause | processes | median us, of the worst process | longest "
        "ms, "
        "of the best process | of the worst | turns of the least, of an equal share |\n"
        "|---|---|---|---|---|---|\n");
    for (const std::size_t processes : {2U, 4U, 8U}) {
        waits("Lock", processes, [](Scene& scene, std::uint32_t row) {
            return [pool = scene.as(row)](Instant& taken) {
                const Guard guard = pool.lock().lock_for(Milliseconds{60'000}).value();
                taken = now();
            };
        });
        waits("pthread_mutex_t, shared", processes, [](Scene& scene, std::uint32_t) {
            return [&mutex = scene.board().mutex](Instant& taken) {
                ::pthread_mutex_lock(&mutex);
                taken = now();
                ::pthread_mutex_unlock(&mutex);
            };
        });
    }
    fmt::print(
        "\n| from the kill until another one has it | median ms | longest of {} ms |\n"
        "|---|---|---|\n",
        kills);
    for (const bool by_master : {true, false}) {
        recovery("a pool, with a transaction to be rolled back", by_master, change_half,
                 [](const Pool& pool) { pool.begin().value().commit().value(); });
        recovery(
            "a shared lock, of a writer, for a writer", by_master,
            [](const Pool& pool, const auto& then) {
                const SharedLock lock = SharedLock::open(pool, 0).value();
                const WriteGuard guard = lock.lock().value();
                then();
            },
            [](const Pool& pool) {
                const SharedLock lock = SharedLock::open(pool, 0).value();
                lock.lock(20s).value().repaired();
            });
        recovery(
            "a shared lock, of a reader, for a writer", by_master,
            [](const Pool& pool, const auto& then) {
                const SharedLock lock = SharedLock::open(pool, 0).value();
                const ReadGuard guard = lock.lock_shared().value();
                then();
            },
            [](const Pool& pool) {
                const SharedLock lock = SharedLock::open(pool, 0).value();
                static_cast<void>(lock.lock(20s).value());
            });
    }
    return 0;
}
