#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.cycle;
import ringfort.master;
import ringfort.process;
import ringfort.shm;

using namespace ringfort;
using master::Pools;

namespace {

constexpr std::uint32_t root = 0;

cycle::SharedZone make(const std::string& name) {
    return cycle::make_zone({.name = name, .tag = "pool", .size = Bytes{262'144}}).value();
}

/// A process that has taken a connection and is half way through taking another, until it is
/// killed. Row 3 is its.
class Culprit {
public:
    explicit Culprit(shm::Zone& zone) {
        int ready[2];
        REQUIRE(::pipe(ready) == 0);
        int told[2];
        REQUIRE(::pipe(told) == 0);
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            char byte = 0;
            if (::read(told[0], &byte, 1) != 1) ::_exit(1);
            const auto pool = shm::Pool::attach(zone, 3).value();
            const auto limiter = shm::ConnectionLimiter::open_or_create(pool, root).value();
            (void)limiter.acquire("client", 10).value();
            auto transaction = pool.begin().value();
            (void)limiter.acquire(transaction, "client", 10).value();
            (void)!::write(ready[1], &byte, 1);
            for (;;) ::pause();
        }
        identity_ = process::identify(pid_);
        told_ = Fd{told[1]};
        ready_ = Fd{ready[0]};
        ::close(told[0]);
        ::close(ready[1]);
    }
    Culprit(const Culprit&) = delete;
    Culprit& operator=(const Culprit&) = delete;
    ~Culprit() {
        if (pid_ > 0) kill();
    }
    [[nodiscard]] std::uint64_t identity() const { return identity_; }
    /// Has it begin, once it is admitted.
    void begin() {
        char byte = 0;
        REQUIRE(::write(told_.get(), &byte, 1) == 1);
        REQUIRE(::read(ready_.get(), &byte, 1) == 1);
    }
    void kill() {
        ::kill(pid_, SIGKILL);
        ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    }

private:
    pid_t pid_ = -1;
    std::uint64_t identity_ = 0;
    Fd told_, ready_;
};

std::uint64_t held(const shm::Pool& pool) {
    return shm::ConnectionLimiter::open(pool, root).value().count("client").value();
}

/// Tends until nothing is left to give back.
void tend(Pools& pools) {
    const auto more = [&] { return *pools.next_deadline() - now() < limits::pool_check_ms / 2; };
    for (int i = 0; i < 1'000 && (i == 0 || more()); ++i) pools.tend(now());
    CHECK_FALSE(more());
}

}  // namespace

TEST_CASE("a worker that is reaped leaves no lock, no half operation and no count behind") {
    const auto zone = make("limits");
    Pools pools;
    pools.keep({zone}, false);
    tend(pools);  // what was left by those before
    Culprit culprit{*zone};
    pools.admit(3, {.slot = 1, .generation = 2, .process = culprit.identity()});
    CHECK_FALSE(pools.is_free(3));
    CHECK(pools.is_free(2));
    culprit.begin();
    const shm::Pool& pool = *pools.find(*zone);
    CHECK(pool.lock().holder_row() == 3);
    CHECK(master::describe(*zone, &pool).find("held by worker slot 1 of generation 2") !=
          std::string::npos);
    culprit.kill();
    const Instant reaped = now();
    pools.bury(3, {.slot = 1, .generation = 1, .process = culprit.identity()});  // another
    CHECK_FALSE(pools.is_free(3));
    pools.bury(3, {.slot = 1, .generation = 2, .process = culprit.identity()});
    CHECK((*pools.next_deadline() - now() <= limits::heal_pause_ms || held(pool) == 0));  // at once
    tend(pools);
    CHECK(now() - reaped < std::chrono::milliseconds{100});
    CHECK(pools.is_free(3));
    CHECK(held(pool) == 0);
    CHECK(pool.lock().recoveries() == 1);
    pool.check().value();
}

TEST_CASE("an owner that is another master's is buried when it ends") {
    const auto zone = make("limits");
    Culprit culprit{*zone};
    Pools old;
    old.keep({zone}, false);
    old.admit(3, {.slot = 1, .generation = 2, .process = culprit.identity()});
    culprit.begin();
    Pools next;
    next.keep({zone}, true);
    next.watch({process::identify(::getpid())}, true);  // the other keeper is this process, too
    std::vector<pollfd> polled;
    next.add_to(polled);
    REQUIRE(polled.size() == 1);
    CHECK(::poll(polled.data(), polled.size(), 0) == 0);
    next.tend(now());
    CHECK_FALSE(next.is_free(3));
    culprit.kill();
    CHECK(::poll(polled.data(), polled.size(), 1'000) == 1);
    tend(next);
    CHECK(next.is_free(3));
    CHECK(held(*next.find(*zone)) == 0);
    // The old one learns of it later, and the row may be another's by then.
    next.admit(3, {.process = 1});
    old.watch({1, process::identify(::getpid())}, true);
    CHECK_FALSE(old.is_free(3));
}

TEST_CASE("owners that have ended before are buried at the first look, and one's own are left") {
    const auto zone = make("limits");
    Pools old;
    old.keep({zone}, false);
    old.admit(1, {.process = 1ULL << 32});  // of init's number, started at another time
    old.admit(2, {.process = process::identify(::getpid())});
    old.admit(4, {.process = 0});  // whose master could not tell
    Pools next;
    next.keep({zone}, false);
    next.watch({process::identify(::getpid())}, true);
    CHECK(next.is_free(1));
    CHECK_FALSE(next.is_free(2));
    CHECK_FALSE(next.is_free(4));  // it may live
    next.watch({process::identify(::getpid())}, false);
    CHECK_FALSE(next.is_free(2));
    CHECK(next.is_free(4));
}

TEST_CASE("nobody watches itself, nor whoever a corrupted table names") {
    const auto zone = make("limits");
    const Culprit culprit{*zone};
    Pools pools;
    pools.keep({zone}, false);
    const auto watched = [&] {
        pools.watch({}, true);
        std::vector<pollfd> polled;
        pools.add_to(polled);
        return polled.size();
    };
    CHECK(watched() == 0);
    SECTION("but others") {
        pools.admit(3, {.process = culprit.identity()});
        CHECK(watched() == 1);
        CHECK(watched() == 1);
    }
    SECTION("corrupted") {
        pools.admit(3, {.process = culprit.identity()});
        pools.find(*zone)->quarantine();
        CHECK(watched() == 0);
    }
}

TEST_CASE("a zone that no cycle has any more is let go of") {
    auto zone = make("limits");
    const auto kept = make("kept");
    const shm::Zone* const gone = zone.get();
    Pools pools;
    pools.keep({zone, kept}, false);
    pools.keep({kept}, false);  // again
    pools.release();
    CHECK(pools.find(*gone) != nullptr);
    zone.reset();
    pools.release();
    CHECK(pools.find(*gone) == nullptr);
    CHECK(pools.find(*kept) != nullptr);
    CHECK(kept.use_count() == 2);
}

TEST_CASE("a draining worker leaves no lock in a zone that the generation that serves has not") {
    const auto old = make("limits");
    Pools pools;
    pools.keep({old}, false);
    const std::uint64_t self = process::identify(::getpid());
    Culprit culprit{*old};
    pools.admit(3, {.slot = 1, .generation = 1, .process = culprit.identity()});
    pools.admit(4, {.slot = 0, .generation = 1, .process = self});
    culprit.begin();
    const auto anew = make("limits");  // as by a reload that drops the zone, or makes it anew
    pools.keep({anew}, false);
    pools.release();  // a generation before those has gone
    const shm::Pool& pool = *pools.find(*old);
    CHECK(pool.lock().holder_row() == 3);
    culprit.kill();
    const Instant reaped = now();
    pools.bury(3, {.slot = 1, .generation = 1, .process = culprit.identity()});
    const shm::Pool sibling = shm::Pool::attach(*old, 4).value();
    CHECK(sibling.begin().has_value());
    CHECK(now() - reaped < std::chrono::milliseconds{100});
    tend(pools);
    CHECK(held(pool) == 0);
    CHECK(pool.lock().recoveries() == 1);
    CHECK(pools.find(*anew)->lock().recoveries() == 0);
    pool.check().value();
}

TEST_CASE("zones are described: their pages, blocks, lock and owners, or why not") {
    const auto zone = make("limits");
    Pools pools;
    CHECK(master::describe(*zone, pools.find(*zone)) == "zone limits (pool): 256KiB, unusable\n");
    pools.keep({zone}, false);
    const shm::Pool& pool = *pools.find(*zone);
    pools.admit(0, {});
    (void)shm::ConnectionLimiter::create(pool, root).value().acquire("client", 1).value();
    const std::string text = master::describe(*zone, &pool);
    INFO(text);
    CHECK(text.find(" pages free, fragmentation 0 %\n") != std::string::npos);
    CHECK(text.find("\n  blocks of 64 B: ") != std::string::npos);
    CHECK(text.find("; 2 requests, 0 failed\n") != std::string::npos);
    CHECK(text.find("\n  lock: 0 waits, 0 recoveries; 1 workers\n") != std::string::npos);
    {
        const auto held = pool.begin().value();
        CHECK(master::describe(*zone, &pool).find(", its lock is held by a master\n") !=
              std::string::npos);
    }
    auto broken = pool.begin().value();
    broken.fail();
    REQUIRE_FALSE(broken.commit());
    CHECK(master::describe(*zone, &pool) ==
          "zone limits (pool): 256KiB, corrupted: a reload makes it anew\n");
    // Nor does it keep a row from being given away.
    CHECK(pools.is_free(0));
}

TEST_CASE(
    "a zone whose header is written over is corrupted, to those who have it already as well") {
    const auto zone = make("limits");
    Pools pools;
    pools.keep({zone}, false);
    pools.admit(1, {});
    const auto worker = shm::Pool::attach(*zone, 1).value();
    pools.tend(now());
    REQUIRE(worker.begin());
    SECTION("that of the zone") {
        *(zone->payload().data() - 1) ^= std::byte{1};
    }
    SECTION("that of the pool") {
        zone->payload()[0] ^= std::byte{1};
    }
    pools.tend(now());
    CHECK(worker.begin().error().is(std::errc::bad_message));
    CHECK(master::describe(*zone, pools.find(*zone)) ==
          "zone limits (pool): 256KiB, corrupted: a reload makes it anew\n");
}

TEST_CASE("a shared lock that a dead worker held is free when it is buried, and said to be so") {
    const auto zone = make("limits");
    Pools pools;
    pools.keep({zone}, false);
    const shm::OwnerName name{.slot = 1, .generation = 2, .process = 0};
    pools.admit(3, name);
    const shm::Pool dying = shm::Pool::attach(*zone, 3).value();
    const shm::SharedLock held = shm::SharedLock::create(dying, 5).value();
    const auto left = held.lock().value();
    const std::uint32_t* const word = shm::ReadWaiter{held}.word();
    REQUIRE(*word != 0);
    pools.bury(3, name);
    CHECK(*word == 0);
    const auto lock = shm::SharedLock::open(*pools.find(*zone), 5).value();
    CHECK(lock.lock_shared(Milliseconds{0}).error().is(std::errc::owner_dead));
    CHECK(lock.lock(Milliseconds{0}).value().recovered());
}

TEST_CASE("owners that cannot be looked at are left alone, and looked at again") {
    const auto zone = make("limits");
    Culprit culprit{*zone};
    Pools old;
    old.keep({zone}, false);
    old.admit(3, {.slot = 1, .generation = 2, .process = culprit.identity()});
    Pools next;
    next.keep({zone}, true);
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const std::vector<std::uint64_t> own{process::identify(::getpid())};
    const rlimit none{.rlim_cur = 3, .rlim_max = limit.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    next.watch(own, true);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(next.unsure());
    CHECK_FALSE(next.is_free(3));
    next.watch(own, true);
    CHECK_FALSE(next.unsure());
    CHECK_FALSE(next.is_free(3));
    culprit.kill();
    next.tend(now());
    CHECK(next.is_free(3));
}

TEST_CASE("a worker that has ended since its zone was copied is buried in the larger one as well") {
    const auto zone = make("limits");
    Pools pools;
    pools.keep({zone}, false);
    const std::vector<std::uint64_t> own{process::identify(::getpid())};
    Culprit culprit{*zone};
    const shm::OwnerName name{.slot = 1, .generation = 2, .process = culprit.identity()};
    pools.admit(3, name);
    const cycle::ZoneRequest wanted{.name = "limits", .tag = "pool", .size = Bytes{524'288}};
    const auto larger =
        cycle::make_zone(wanted, cycle::plan_zone(wanted, {zone}), [&](shm::Zone& one) {
            return pools.open(one);
        }).value();
    culprit.kill();
    pools.bury(3, name);
    pools.keep({larger}, false);
    CHECK_FALSE(pools.is_free(3));
    pools.watch(own, true);
    CHECK(pools.is_free(3));
}

TEST_CASE("while a lock is not to be had, what is left to be healed waits a while") {
    const auto zone = make("limits");
    Pools pools;
    pools.keep({zone}, false);
    const auto held = pools.find(*zone)->begin().value();
    Pools other;
    other.keep({zone}, true);
    other.tend(now());
    CHECK(*other.next_deadline() - now() > limits::heal_pause_ms);
    CHECK(*other.next_deadline() - now() <= limits::lock_check_ms);
}
