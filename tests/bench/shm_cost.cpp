// bench_shm: what locks, allocations and lookups in shared memory cost, in nanoseconds, beside what
// a process has for itself. A second build, bench_shm_unjournaled, shows what the journal costs.
// usage: bench_shm [--plain]     --plain: "name least median" lines for programs
#include <fmt/format.h>
#include <pthread.h>
#ifdef BENCH_BOOST
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/unordered_map.hpp>
#endif
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "first_fit.h"

import ringfort.base;
import ringfort.shm;

namespace {

using namespace ringfort;
using namespace ringfort::shm;
using Clock = std::chrono::steady_clock;

constexpr std::size_t batches = 300;
constexpr std::size_t per_batch = 5'000;

struct Cost {
    double least_ns;
    double median_ns;
};

template <class Work>
Cost measure(Work work) {
    std::vector<double> costs;
    for (std::size_t i = 0; i < per_batch; ++i) work(i);  // the first ones pay for memory
    for (std::size_t batch = 0; batch < batches; ++batch) {
        const auto begin = Clock::now();
        for (std::size_t i = 0; i < per_batch; ++i) work(i);
        const std::chrono::duration<double, std::nano> took = Clock::now() - begin;
        costs.push_back(took.count() / per_batch);
    }
    std::sort(costs.begin(), costs.end());
    return {costs.front(), costs[costs.size() / 2]};
}

/// Makes the compiler believe that somebody uses the value.
template <class T>
void use(T&& value) {
    asm volatile("" : : "g"(&value) : "memory");
}

class Table {
public:
    explicit Table(bool plain) : plain_{plain} {
        if (!plain_) fmt::print("| cost | least ns | median ns |\n|---|---|---|\n");
    }
    void row(std::string_view name, std::string_view text, Cost cost) const {
        if (plain_)
            fmt::print("{} {:.2f} {:.2f}\n", name, cost.least_ns, cost.median_ns);
        else
            fmt::print("| {} | {:.1f} | {:.1f} |\n", text, cost.least_ns, cost.median_ns);
    }

private:
    bool plain_;
};

class PthreadMutex {
public:
    explicit PthreadMutex(bool robust) {
        memory_ = ::mmap(nullptr, 4'096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pthread_mutexattr_t attributes;
        ::pthread_mutexattr_init(&attributes);
        ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        if (robust) ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        ::pthread_mutex_init(mutex(), &attributes);
    }
    pthread_mutex_t* mutex() const { return static_cast<pthread_mutex_t*>(memory_); }

private:
    void* memory_;
};

struct Place {
    Zone zone;
    Pool pool;
};

Place place(Bytes content) {
    Zone zone = Zone::create("bench", "pool/1", Pool::zone_size(16, content)).value();
    const Pool pool = Pool::format(zone, 16).value();
    return {std::move(zone), pool};
}

void locks(const Table& table) {
    const Place here = place(Bytes{1 << 20});
    const Lock& lock = here.pool.lock();
    table.row("lock", "lock and unlock", measure([&](std::size_t) {
                  Result<Guard> guard = lock.lock();
                  use(guard);
              }));
    for (const bool robust : {false, true}) {
        const PthreadMutex mutex{robust};
        table.row(robust ? "robust" : "pthread",
                  robust ? "pthread_mutex_t, shared and robust" : "pthread_mutex_t, shared",
                  measure([&](std::size_t) {
                      use(::pthread_mutex_lock(mutex.mutex()));
                      use(::pthread_mutex_unlock(mutex.mutex()));
                  }));
    }
    table.row("transaction", "an empty transaction", measure([&](std::size_t) {
                  Transaction transaction = here.pool.begin().value();
                  use(transaction.commit());
              }));
}

void allocations(const Table& table) {
    const Place here = place(Bytes{16 << 20});
    const auto sized = [](std::size_t i) { return std::size_t{16} + i * 40 % 480; };
    std::vector<Offset> blocks(256);
    std::vector<void*> own(256);
    // Each place in turn is given back and taken anew with another size.
    table.row("allocate", "free and allocate 16 to 496 bytes, a transaction each",
              measure([&](std::size_t i) {
                  Offset& block = blocks[i * 7 % blocks.size()];
                  if (block != 0) {
                      Transaction transaction = here.pool.begin().value();
                      transaction.release(block);
                      transaction.commit().value();
                  }
                  Transaction transaction = here.pool.begin().value();
                  block = transaction.allocate(sized(i));
                  transaction.commit().value();
              }));
    table.row("malloc", "the same with malloc(3)", measure([&](std::size_t i) {
                  void*& block = own[i * 7 % own.size()];
                  std::free(block);
                  block = std::malloc(sized(i));
                  use(block);
              }));
    for (void* block : own) std::free(block);
}

// Processes that lock, add and unlock as fast as they can; what one round costs all of them
// together.
double contended_ns(const Pool& pool, std::uint32_t processes, std::uint64_t& sum) {
    constexpr std::uint64_t turns = 300'000;
    const auto begin = Clock::now();
    std::vector<pid_t> children;
    for (std::uint32_t row = 0; row < processes; ++row) {
        const Lock lock{*reinterpret_cast<LockCell*>(pool.lock().word()), pool.owners(),
                        pool.admit(row, {}).value()};
        const pid_t child = ::fork();
        if (child == 0) {
            for (std::uint64_t turn = 0; turn < turns; ++turn) {
                const Guard guard = lock.lock_for(Milliseconds{60'000}).value();
                ++sum;
            }
            ::_exit(0);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) ::waitpid(child, nullptr, 0);
    for (std::uint32_t row = 0; row < processes; ++row) pool.owners().bury(row);
    const std::chrono::duration<double, std::nano> took = Clock::now() - begin;
    return took.count() / static_cast<double>(turns * processes);
}

double contended_pthread_ns(std::uint32_t processes, std::uint64_t& sum) {
    constexpr std::uint64_t turns = 300'000;
    const PthreadMutex mutex{false};
    const auto begin = Clock::now();
    std::vector<pid_t> children;
    for (std::uint32_t n = 0; n < processes; ++n) {
        const pid_t child = ::fork();
        if (child == 0) {
            for (std::uint64_t turn = 0; turn < turns; ++turn) {
                ::pthread_mutex_lock(mutex.mutex());
                ++sum;
                ::pthread_mutex_unlock(mutex.mutex());
            }
            ::_exit(0);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) ::waitpid(child, nullptr, 0);
    const std::chrono::duration<double, std::nano> took = Clock::now() - begin;
    return took.count() / static_cast<double>(turns * processes);
}

void contention(const Table& table) {
    const Place here = place(Bytes{1 << 20});
    void* memory =
        ::mmap(nullptr, 4'096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto& sum = *static_cast<std::uint64_t*>(memory);
    for (const std::uint32_t processes : {2U, 4U, 8U}) {
        std::vector<double> ours;
        std::vector<double> theirs;
        for (int run = 0; run < 9; ++run) {
            ours.push_back(contended_ns(here.pool, processes, sum));
            theirs.push_back(contended_pthread_ns(processes, sum));
        }
        std::sort(ours.begin(), ours.end());
        std::sort(theirs.begin(), theirs.end());
        table.row(fmt::format("contended_{}", processes),
                  fmt::format("lock, add, unlock, by {} processes at once", processes),
                  {ours.front(), ours[4]});
        table.row(fmt::format("pthread_contended_{}", processes),
                  fmt::format("the same with pthread_mutex_t, shared"),
                  {theirs.front(), theirs[4]});
    }
}

// Free pages of which every other one is in use, and what two pages in a row cost then.
void fragmented(const Table& table, std::size_t holes) {
    constexpr std::size_t turns = 64;
    const std::size_t pages = holes * 2 + turns * 2 + 64;
    const Place here = place(Bytes{pages * 4'096});
    bench::FirstFit first_fit{pages};
    const auto one = [&](std::size_t bytes) {
        Transaction transaction = here.pool.begin().value();
        const Offset block = transaction.allocate(bytes);
        transaction.commit().value();
        return block;
    };
    const auto give_back = [&](Offset block) {
        Transaction transaction = here.pool.begin().value();
        transaction.release(block);
        transaction.commit().value();
    };
    std::vector<Offset> blocks;
    for (std::size_t n = 0; n < holes * 2; ++n) {
        blocks.push_back(one(4'096));
        static_cast<void>(first_fit.take(1));
    }
    for (std::size_t n = 0; n < holes * 2; n += 2) {
        give_back(blocks[n]);
        first_fit.give(n, 1);
    }
    std::vector<double> ours;
    std::vector<double> theirs;
    for (int run = 0; run < 100; ++run) {
        std::array<Offset, turns> taken;
        auto begin = Clock::now();
        for (Offset& block : taken) block = one(8'192);
        ours.push_back(std::chrono::duration<double, std::nano>(Clock::now() - begin).count() /
                       turns);
        for (const Offset block : taken) give_back(block);
        bench::FirstFit copy = first_fit;
        begin = Clock::now();
        for (std::size_t n = 0; n < turns; ++n) use(copy.take(2));
        theirs.push_back(std::chrono::duration<double, std::nano>(Clock::now() - begin).count() /
                         turns);
    }
    std::sort(ours.begin(), ours.end());
    std::sort(theirs.begin(), theirs.end());
    table.row(fmt::format("run_{}", holes),
              fmt::format("allocate two pages, {} holes of one page", holes), {ours[0], ours[50]});
    table.row(fmt::format("first_fit_{}", holes), "the same in one list, the first that fits",
              {theirs[0], theirs[50]});
}

std::string name_of(std::size_t number) {
    return fmt::format("client {:08}", number * 2'654'435'761 % 100'000'000);
}

void lookups(const Table& table, std::size_t entries) {
    const Place here = place(Bytes{entries * 160 + (1 << 20)});
    using Shared = MapOf<std::string, std::uint64_t>;
    const Shared shared =
        Shared::create(here.pool, 0, {.buckets = static_cast<std::uint32_t>(entries)}).value();
    std::unordered_map<std::string, std::uint64_t> local;
    std::vector<std::string> names;
    for (std::size_t n = 0; n < entries; ++n) {
        names.push_back(name_of(n));
        shared.put(names.back(), n).value();
        local[names.back()] = n;
    }
    const auto name = [&](std::size_t i) -> const std::string& {
        return names[i * 7'919 % entries];
    };
    const auto label = [&](std::string_view text) {
        return fmt::format("{}, {} entries", text, entries);
    };
    table.row(fmt::format("map_get_{}", entries), label("MapOf<string, uint64>::get"),
              measure([&](std::size_t i) { use(shared.get(name(i))); }));
    table.row(fmt::format("local_get_{}", entries), label("unordered_map::find, of the process"),
              measure([&](std::size_t i) { use(local.find(name(i))->second); }));
    table.row(fmt::format("map_put_{}", entries), label("MapOf::put of a key that is there"),
              measure([&](std::size_t i) { use(shared.put(name(i), i)); }));
    table.row(fmt::format("map_churn_{}", entries), label("MapOf::erase and put"),
              measure([&](std::size_t i) {
                  use(shared.erase(name(i)));
                  use(shared.put(name(i), i));
              }));
}

#ifdef BENCH_BOOST
void boost_allocations(const Table& table) {
    constexpr std::size_t bytes = 16 << 20;
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    boost::interprocess::managed_external_buffer segment{boost::interprocess::create_only, memory,
                                                         bytes};
    std::vector<void*> blocks(256);
    table.row("boost_allocate", "Boost.Interprocess: free and allocate 16 to 496 bytes",
              measure([&](std::size_t i) {
                  void*& block = blocks[i * 7 % blocks.size()];
                  if (block != nullptr) segment.deallocate(block);
                  block = segment.allocate(std::size_t{16} + i * 40 % 480);
              }));
    ::munmap(memory, bytes);
}

// A mutex that a dead owner keeps for good, a map that it leaves half written.
void boost_interprocess(const Table& table, std::size_t entries) {
    namespace ipc = boost::interprocess;
    const std::size_t bytes = entries * 256 + (16 << 20);
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ipc::managed_external_buffer segment{ipc::create_only, memory, bytes};
    using Entry = std::pair<const std::size_t, std::uint64_t>;
    using Allocator = ipc::allocator<Entry, ipc::managed_external_buffer::segment_manager>;
    using Shared = boost::unordered_map<std::size_t, std::uint64_t, boost::hash<std::size_t>,
                                        std::equal_to<>, Allocator>;
    auto& mutex = *segment.construct<ipc::interprocess_mutex>("mutex")();
    auto& map =
        *segment.construct<Shared>("map")(entries, boost::hash<std::size_t>{}, std::equal_to<>{},
                                          Allocator{segment.get_segment_manager()});
    for (std::size_t n = 0; n < entries; ++n) map.emplace(n, n);
    table.row(fmt::format("boost_get_{}", entries),
              fmt::format("Boost.Interprocess: mutex, find of an integer, {} entries", entries),
              measure([&](std::size_t i) {
                  const ipc::scoped_lock<ipc::interprocess_mutex> lock{mutex};
                  use(map.find(i * 7'919 % entries)->second);
              }));
    ::munmap(memory, bytes);
}
#endif

void others(const Table& table) {
    const Place here = place(Bytes{4 << 20});
    const RateLimiter rates = RateLimiter::create(here.pool, 0).value();
    const Rate rate{.tokens = 1'000'000'000, .per = Milliseconds{1'000}, .burst = 1'000'000};
    table.row("rate", "RateLimiter::take, 256 keys", measure([&](std::size_t i) {
                  use(rates.take(name_of(i % 256), rate, Instant{std::chrono::nanoseconds{i}}));
              }));
    using Four = std::array<std::uint64_t, 4>;
    const auto value = SeqValue<Four>::create(here.pool, 1, {}).value();
    table.row("seq", "SeqValue::load of 32 bytes",
              measure([&](std::size_t) { use(value.load()); }));
    Zone zone = Zone::create("counters", "counters/1", Counters::zone_size(4, 8)).value();
    const Counters counters = Counters::format(zone, 4, 8).value();
    table.row("counter", "Counters::add", measure([&](std::size_t) { counters.add(1, 2); }));
}

}  // namespace

int main(int argc, char** argv) {
    const Table table{argc == 2 && std::string_view{argv[1]} == "--plain"};
    locks(table);
    allocations(table);
    for (const std::size_t entries : {1'000U, 100'000U}) lookups(table, entries);
#ifdef BENCH_BOOST
    boost_allocations(table);
    for (const std::size_t entries : {1'000U, 100'000U}) boost_interprocess(table, entries);
#endif
    for (const std::size_t holes : {100U, 1'000U, 10'000U}) fragmented(table, holes);
    others(table);
    contention(table);
    return 0;
}
