#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
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
    auto limits = shm::Zone::create("limits", "", Bytes{4096}).value();
    limits.payload()[0] = std::byte{42};
    const testing::CounterZone zone;
    const testing::Listener listener;
    Hired worker;
    worker.give(zone.zone);
    worker.give(limits);
    worker.give(listener, "informer");
    worker.start();
    (void)worker.receive<channel::Ready>();
    Client client{listener};
    CHECK(client.receives("slot 3 generation 7 zone 42"));
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
