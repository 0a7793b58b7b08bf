#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <compare>
#include <coroutine>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.net;
import ringfort.shm;
import ringfort.uring;
import ringfort.worker;

#include "services.h"

#include "hired.h"

using namespace ringfort;
using testing::Client;
using testing::Hired;
using testing::Serving;
using worker::Counter;

TEST_CASE("a service sees its worker's slot and generation, and the zones by name") {
    const testing::PoolZone limits;
    CHECK(limits.admit(2));
    const Serving serving{"informer", testing::options(), &limits};
    Client client{serving.listener};
    CHECK(client.receives("slot 3 generation 7 pool as owner 2, find a pool: No such file"));
}

TEST_CASE("a worker that nobody has admitted to a pool serves without it") {
    const testing::PoolZone limits;
    SECTION("nor anybody else") {}
    SECTION("but another of its generation") {
        CHECK(limits.admit(2, 4, 7));
    }
    SECTION("but that of an earlier generation") {
        CHECK(limits.admit(2, 3, 6));
    }
    const Serving serving{"informer", testing::options(), &limits};
    Client client{serving.listener};
    CHECK(client.receives("slot 3 generation 7 pool attach a pool: its owner: Owner died, "));
}

TEST_CASE("a worker that is given a zone whose header is written over serves without it") {
    const testing::PoolZone limits;
    CHECK(limits.admit(2));
    std::byte* const header = limits.zone.payload().data() - shm::Zone::header_bytes;
    SECTION("all of it") {
        std::fill_n(header, shm::Zone::header_bytes, std::byte{0xa5});
    }
    SECTION("its version") {
        header[8] ^= std::byte{1};
    }
    SECTION("its name") {
        header[24] ^= std::byte{1};
    }
    const Serving serving{"informer", testing::options(), &limits};
    Client client{serving.listener};
    CHECK(client.receives("slot 3 generation 7 pool attach a zone: Bad message, "));
    CHECK(testing::reads(serving.worker.errors(), "zone limits cannot be used: attach a zone: "));
}

TEST_CASE("a service that cannot prepare itself keeps its worker from starting") {
    const testing::CounterZone zone;
    const testing::Listener listener;
    Hired worker;
    worker.give(zone.zone);
    worker.give(listener, "counting");  // without its pool
    worker.start();
    CHECK(worker.receive<channel::Failed>().text.find("find a pool") != std::string::npos);
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a service that throws when it prepares itself keeps its worker from starting") {
    const testing::CounterZone zone;
    const testing::Listener listener;
    Hired worker;
    worker.give(zone.zone);
    worker.give(listener, "unprepared");
    worker.start();
    CHECK(worker.receive<channel::Failed>().text.find("start the service") != std::string::npos);
    CHECK(
        testing::reads(worker.errors(), "service unprepared threw at its start: thrown by a test"));
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a service whose first listener comes later prepares itself and works, too") {
    const testing::PoolZone limits;
    CHECK(limits.admit(2));
    Serving serving{"echo", testing::options(), &limits};
    const testing::Listener counted, working;
    serving.worker.give(counted, "counting", 1);
    Client client{counted};
    CHECK(client.receives("number 1"));
    serving.worker.give(working, "working", 2);
    CHECK(Client{serving.listener}.echoes("x"));  // time has passed
    Client other{working};
    CHECK(other.echoes("at work"));
}

TEST_CASE("while somebody holds a pool's lock, the worker serves whoever does not need it") {
    const testing::PoolZone limits;
    CHECK(limits.admit(2));
    Serving serving{"counting", testing::options(), &limits};
    const testing::Listener& counted = serving.listener;
    const testing::Listener echoed;
    serving.worker.give(echoed, "echo", 1);
    auto held = limits.pool.begin();
    REQUIRE(held);
    Client waits{counted};
    Client other{echoed};
    for (int i = 0; i < 10; ++i) CHECK(other.echoes("x"));
    const std::atomic_ref<std::uint32_t> word{*limits.pool.lock().word()};
    for (int i = 0; i < 1'000 && word.load() >> 31 == 0; ++i) CHECK(other.echoes("y"));
    CHECK(word.load() >> 31 == 1);  // it sleeps for the lock
    SECTION("and goes on when it is let go") {
        REQUIRE(held->commit());
        CHECK(waits.receives("number 1"));
    }
    SECTION("and goes on when it is let go after so long that newcomers stand back") {
        for (int i = 0; i < 100 && (word.load() >> 30 & 1) == 0; ++i) {
            ::usleep(10'000);
            CHECK(other.echoes("z"));
        }
        CHECK((word.load() >> 30 & 1) == 1);
        REQUIRE(held->commit());
        CHECK(waits.receives("number 1"));
    }
    SECTION("and notices when its holder dies, though nobody wakes it") {
        limits.pool.owners().bury(limits.pool.self().row);
        const Instant dead = now();
        CHECK(waits.receives("number 1"));
        CHECK(now() - dead < limits::lock_wait_ms / 2);
    }
    SECTION("and ends at once when the worker is to") {
        serving.worker.send(channel::Terminate{});
        const Instant told = now();
        CHECK(serving.worker.exit_code() == 0);
        CHECK(now() - told < limits::lock_wait_ms / 2);
        REQUIRE(held->commit());
    }
    SECTION("and has the pool quarantined when its word is corrupted meanwhile") {
        word.store(0x7ff);
        CHECK(waits.is_cut());
        CHECK(limits.pool.quarantined());
        (void)held->commit();
    }
    SECTION("and gives up after its time") {
        CHECK(waits.is_cut());
        CHECK(serving.counted(Counter::failed) == 1);
        REQUIRE(held->commit());
        Client next{counted};
        CHECK(next.receives("number 1"));
    }
}

TEST_CASE("two workers pass messages through a queue, and serve others while they wait for it") {
    const testing::PoolZone limits;
    const testing::CounterZone zone;
    const testing::Listener listeners[2];
    Hired workers[2];
    for (std::uint32_t row = 0; row < 2; ++row) {
        CHECK(limits.admit(row));
        workers[row].give(zone.zone);
        workers[row].give(limits.zone);
        workers[row].give(listeners[row], "passing");
        workers[row].start(row);
        (void)workers[row].receive<channel::Ready>();
    }
    const auto& [one, two] = listeners;
    Client taker{one};
    taker.send("<");
    CHECK(Client{one}.echoes("x"));
    Client putter{two};
    putter.send("+hello");
    CHECK(putter.receives("put"));
    CHECK(taker.receives("hello"));

    // And for room.
    const std::string large(50, 'l');
    Client first{two};
    first.send("+" + large);
    CHECK(first.receives("put"));
    Client second{two};
    second.send("+again");
    CHECK(Client{two}.echoes("x"));
    Client taker_again{one};
    taker_again.send("<");
    CHECK(taker_again.receives(large));
    CHECK(second.receives("put"));
    Client last{one};
    last.send("<");
    CHECK(last.receives("again"));

    Client patient{one};
    patient.send("?");
    CHECK(patient.line().find("take from a queue: Connection timed out") == 0);
    Client too_large{two};
    too_large.send("+" + large + large);
    CHECK(too_large.line().find("put into a queue: Message too long") == 0);
}

TEST_CASE("a worker that is ended while it waits for a message takes none") {
    const testing::PoolZone limits;
    CHECK(limits.admit(2));
    Serving serving{"passing", testing::options(), &limits};
    Client taker{serving.listener};
    taker.send("<");
    CHECK(Client{serving.listener}.echoes("x"));
    const auto queue = shm::Queue::open(limits.pool, 0).value();
    SECTION("by its drain") {
        serving.worker.send(channel::Drain{Milliseconds{50}});
        (void)serving.worker.receive<channel::Draining>();
        CHECK(serving.worker.exit_code() == 0);
    }
    SECTION("by a signal that cannot be caught") {
        serving.worker.signal(SIGKILL);
        CHECK(serving.worker.exit_code() == 1'000 + SIGKILL);
    }
    CHECK(taker.is_cut());
    queue.push(shm::bytes_of(std::string_view{"kept"})).value();
    CHECK(queue.pop_for(Milliseconds{0}).has_value());
}

TEST_CASE("a worker counts its connections in its own row") {
    Serving serving;
    Client client{serving.listener};
    REQUIRE(client.echoes("x"));
    Client other{serving.listener};
    REQUIRE(other.echoes("x"));
    CHECK(serving.counted(Counter::accepted) == 2);
    CHECK(serving.counted(Counter::active) == 2);
    client.close();
    other.close();
    CHECK(serving.drain() == 0);
    CHECK(serving.counted(Counter::accepted) == 2);
    CHECK(serving.counted(Counter::active) == 0);
    CHECK(serving.counted(Counter::failed) == 0);
    CHECK(serving.zone.counters.sum(Counter::accepted) == 2);
}

TEST_CASE("the successor of a killed worker takes its row over: open connections are none") {
    const testing::CounterZone zone;
    const testing::Listener listener;
    {
        Hired killed;
        killed.give(zone.zone);
        killed.give(listener);
        killed.start();
        (void)killed.receive<channel::Ready>();
        Client client{listener};
        REQUIRE(client.echoes("x"));
        killed.signal(SIGKILL);
        CHECK(killed.exit_code() == 1'000 + SIGKILL);
    }
    REQUIRE(zone.counters.get(2, Counter::active) == 1);
    Hired successor;
    successor.give(zone.zone);
    successor.start();
    (void)successor.receive<channel::Ready>();
    CHECK(zone.counters.get(2, Counter::active) == 0);
    CHECK(zone.counters.get(2, Counter::accepted) == 1);
}
