// Who keeps a pool, who takes over from it, and what a keeper does about a pool that is corrupted.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <csignal>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.shm;

using namespace ringfort;
using namespace ringfort::shm;

namespace {

constexpr Word tag = 0x7465'7374;

Zone zone_for(std::uint64_t pages, std::uint32_t rows = 3) {
    return Zone::create("pool", "pool/1", Pool::zone_size(rows, Bytes{pages * 4'096})).value();
}

}  // namespace

TEST_CASE("a successor of the keeper recovers what that one had begun") {
    Zone zone = zone_for(4);
    const Pool keeper = Pool::format(zone, 3).value();
    const Pool worker = Pool::attach(zone, keeper.admit(0, {5, 1}).value()).value();
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        Transaction transaction = keeper.begin().value();
        keeper.set_root(transaction, 0, tag, transaction.allocate(100));
        ::kill(::getpid(), SIGKILL);
    }
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    const Pool next = Pool::keep(zone).value();
    REQUIRE(next.self() != keeper.self());
    REQUIRE(worker.owners().alive(worker.self()));
    REQUIRE(worker.root(0, tag).value() == 0);
    next.check().value();
}

TEST_CASE("a bar that a dead waiter has put up before a free lock falls when it is buried") {
    Zone zone = zone_for(4);
    const Pool keeper = Pool::format(zone, 3).value();
    REQUIRE(keeper.admit(0, {5, 1}));
    // What is left when one that has been woken dies before it takes the lock.
    *keeper.lock().word() = 1U << 30;
    REQUIRE_FALSE(keeper.try_begin().value());
    REQUIRE(keeper.bury(0));
    REQUIRE(keeper.try_begin().value());
}

TEST_CASE("two keepers live side by side during an upgrade, and each can bury the other") {
    Zone zone = zone_for(4);
    const Pool old = Pool::format(zone, 3).value();
    const Pool worker = Pool::attach(zone, old.admit(0, {5, 1}).value()).value();
    REQUIRE_FALSE(old.bury_keeper().value());
    for (const bool fails : {true, false}) {
        const Pool next = Pool::join(zone).value();
        REQUIRE(Pool::join(zone));
        REQUIRE(Pool::join(zone));
        REQUIRE(Pool::join(zone).error().is(std::errc::device_or_resource_busy));
        REQUIRE(old.begin());
        REQUIRE(next.begin());
        REQUIRE(worker.begin());
        const Pool& dead = fails ? next : old;
        const Pool& left = fails ? old : next;
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            Transaction transaction = dead.begin().value();
            dead.set_root(transaction, 0, tag, transaction.allocate(100));
            ::kill(::getpid(), SIGKILL);
        }
        REQUIRE(::waitpid(child, nullptr, 0) == child);
        REQUIRE(left.bury_keeper().value());
        REQUIRE(left.root(0, tag).value() == 0);
        REQUIRE_FALSE(left.bury_keeper().value());
        REQUIRE(dead.begin().error().is(std::errc::owner_dead));
        REQUIRE(left.admit(1, {5, 2}));
        static_cast<void>(left.bury(1).value());
    }
    REQUIRE(worker.bury_keeper().error().is(std::errc::operation_not_permitted));
    REQUIRE(worker.rebuild().error().is(std::errc::operation_not_permitted));
    REQUIRE(Pool::join(zone));
}

TEST_CASE("an owner that has been buried and lives begins nothing") {
    Zone zone = zone_for(4);
    const Pool keeper = Pool::format(zone, 3).value();
    const Pool worker = Pool::attach(zone, keeper.admit(1, {5, 1}).value()).value();
    REQUIRE_FALSE(keeper.bury(1).value());
    REQUIRE(worker.begin().error().is(std::errc::owner_dead));
    const Pool next = Pool::attach(zone, keeper.admit(1, {5, 2}).value()).value();
    REQUIRE(worker.begin().error().is(std::errc::owner_dead));
    REQUIRE(next.begin());
    const Transaction held = keeper.begin().value();
    REQUIRE(worker.lock().lock_for(Milliseconds{0}).error().is(std::errc::owner_dead));
}

TEST_CASE("a pool that is rebuilt is empty, and knows its owners") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    const Owner worker = pool.admit(1, {5, 1}).value();
    static_cast<void>(transact(pool, [&](Transaction& transaction) -> Result<void> {
                          pool.set_root(transaction, 0, tag, transaction.allocate(5'000));
                          return {};
                      }).value());
    // Killed in the middle of a transaction, and never buried; a keeper of another generation.
    const Pool killed = Pool::attach(zone, worker).value();
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        Transaction transaction = killed.begin().value();
        killed.set_root(transaction, 1, tag, transaction.allocate(100));
        ::kill(::getpid(), SIGKILL);
    }
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    pool.owners().bury(1);
    const Pool keeper = Pool::keep(zone).value();
    keeper.rebuild().value();
    REQUIRE(keeper.root(0, tag).value() == 0);
    REQUIRE(keeper.root(1, tag).value() == 0);
    keeper.check().value();
    const PoolStatistics statistics = keeper.statistics().value();
    REQUIRE(statistics.free_pages == statistics.pages);
    REQUIRE(keeper.admit(1, {5, 2}).value().epoch == worker.epoch + 1);
    REQUIRE(pool.begin().error().is(std::errc::owner_dead));
}

TEST_CASE("a lock's word that no owner wrote quarantines the pool, until it is rebuilt") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    *pool.lock().word() = 2'000;
    REQUIRE(pool.begin().error().is(std::errc::bad_message));
    REQUIRE(pool.quarantined());
    pool.rebuild().value();
    REQUIRE_FALSE(pool.quarantined());
    pool.begin().value().commit().value();
}

TEST_CASE("two keepers that learn of one death bury it once, and not whoever comes after") {
    Zone zone = zone_for(4);
    const Pool old = Pool::format(zone, 3).value();
    const Pool next = Pool::join(zone).value();
    const Owner dead = old.admit(0, {5, 1}).value();
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const Pool worker = Pool::attach(zone, dead).value();
        Transaction transaction = worker.begin().value();
        worker.set_root(transaction, 0, tag, transaction.allocate(100));
        ::kill(::getpid(), SIGKILL);
    }
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    REQUIRE(next.bury(dead).value());
    REQUIRE(old.root(0, tag).value() == 0);
    REQUIRE_FALSE(old.bury(dead).value());
    const Owner second = old.admit(0, {5, 2}).value();
    const Pool worker = Pool::attach(zone, second).value();
    Transaction transaction = worker.begin().value();
    worker.set_root(transaction, 0, tag, transaction.allocate(100));
    REQUIRE_FALSE(next.bury(dead).value());
    REQUIRE(old.owners().alive(second));
    transaction.commit().value();  // nobody has taken the lock from it
    REQUIRE(old.root(0, tag).value() != 0);
    REQUIRE(next.bury(Owner{7, 1}).error().is(std::errc::invalid_argument));
}

TEST_CASE("whoever knows its row attaches as the owner that lives there") {
    Zone zone = zone_for(4);
    const Pool keeper = Pool::format(zone, 3).value();
    REQUIRE(Pool::attach(zone, 1).error().is(std::errc::owner_dead));
    REQUIRE(Pool::attach(zone, 77).error().is(std::errc::owner_dead));
    REQUIRE(Pool::attach(zone, keeper.rows()).error().is(std::errc::owner_dead));  // a keeper's
    const Owner owner = keeper.admit(1, {}).value();
    REQUIRE(Pool::attach(zone, 1).value().self() == owner);
}

TEST_CASE("a pool is unusable when it is none, or corrupted") {
    Zone zone = zone_for(4);
    REQUIRE(Pool::unusable(zone));
    const Pool keeper = Pool::format(zone, 3).value();
    REQUIRE_FALSE(Pool::unusable(zone));
    Transaction transaction = keeper.begin().value();
    transaction.fail();
    REQUIRE_FALSE(transaction.commit());
    REQUIRE(Pool::unusable(zone));
    keeper.rebuild().value();
    REQUIRE_FALSE(Pool::unusable(zone));
    keeper.quarantine();
    REQUIRE(Pool::unusable(zone));
    REQUIRE(keeper.begin().error().is(std::errc::bad_message));
}

TEST_CASE("figures are to be had without waiting, or not at all") {
    Zone zone = zone_for(4);
    const Pool keeper = Pool::format(zone, 3).value();
    const Pool worker = Pool::attach(zone, keeper.admit(1, {}).value()).value();
    REQUIRE(keeper.try_statistics().value()->pages == keeper.statistics().value().pages);
    REQUIRE_FALSE(keeper.lock().holder_row());
    Transaction held = worker.begin().value();
    REQUIRE_FALSE(keeper.try_statistics().value());
    REQUIRE(keeper.lock().holder_row() == 1);
    held.commit().value();
    REQUIRE(keeper.try_statistics().value());
}
