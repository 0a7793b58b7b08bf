#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <string>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

// While the one who is killed could write: then the next writer has to know.
bool may_write = false;

// Whether a shared lock is to be had, for writing and then for reading, at once.
std::string free_for_all(Pool& pool) {
    const auto lock = SharedLock::open(pool, 0);
    if (!lock) return "none";
    {
        Result<WriteGuard> writing = lock->lock(Milliseconds{0});
        if (!writing) return writing.error().text();
        if (may_write && !writing->recovered()) return "nobody is told";
        writing->repaired();
    }
    const Result<ReadGuard> reading = lock->lock_shared(Milliseconds{0});
    return reading ? "free" : reading.error().text();
}

}  // namespace

TEST_CASE("a shared lock whose holder is killed at any store is to be had by others") {
    steps::Stage stage{4};
    steps::kill_everywhere(
        stage, [](Pool& pool) { REQUIRE(SharedLock::create(pool, 0)); }, free_for_all);
    for (const bool by_waiter : {false, true}) {
        const std::string after =
            steps::kill_everywhere(stage,
                                   [&stage](Pool& pool) {
                                       const SharedLock lock = SharedLock::open(pool, 0).value();
                                       for (int n = 0; n < 2; ++n) {
                                           {
                                               const WriteGuard writing = lock.lock().value();
                                               may_write = &pool == &stage.pool();
                                           }
                                           may_write = false;
                                           ReadGuard reading = lock.lock_shared().value();
                                           const ReadGuard again = lock.lock_shared().value();
                                       }
                                   },
                                   free_for_all, {.by_waiter = by_waiter});
        REQUIRE(after == "free");
    }
}
