// bench_shm: what locks, allocations and lookups in shared memory cost, in nanoseconds, beside what
// a process has for itself. A second build, bench_shm_unjournaled, shows what the journal costs.
// usage: bench_shm [--plain]     --plain: "name least median" lines for programs
#include <fmt/format.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
    asm volatile("" : : "r,m"(value) : "memory");
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

}  // namespace

int main(int argc, char** argv) {
    const Table table{argc == 2 && std::string_view{argv[1]} == "--plain"};
    locks(table);
    allocations(table);
    return 0;
}
