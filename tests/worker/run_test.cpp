#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
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
#include <cstdlib>
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

// How a worker begins and what it obeys; how it ends is in worker_test.cpp.

TEST_CASE("a worker that was given all it needs is ready and serves") {
    Serving serving;
    Client client{serving.listener};
    CHECK(client.echoes("one"));
    CHECK(client.echoes("two"));
    Client another{serving.listener};
    CHECK(another.echoes("three"));
    CHECK(client.echoes("four"));
}

TEST_CASE("a worker answers with the slot and the generation it was given") {
    const testing::CounterZone zone;
    Hired worker;
    worker.give(zone.zone);
    worker.start();
    const auto ready = worker.receive<channel::Ready>();
    CHECK(ready.slot == 3);
    CHECK(ready.generation == 7);
}

TEST_CASE("a worker says what it does without before it says that it is ready") {
    const char* const driver = std::getenv("RINGFORT_DRIVER");
    if (driver != nullptr && std::string_view{driver} == "epoll") SKIP("wanted so: nothing to say");
    const testing::CounterZone zone;
    auto older = testing::options();
    older.loop.features.zero_copy = false;
    Hired worker{std::move(older)};
    worker.give(zone.zone);
    worker.start();
    const auto shortcoming = worker.receive<channel::Shortcoming>();
    CHECK(shortcoming.slot == 3);
    CHECK(shortcoming.generation == 7);
    CHECK_FALSE(shortcoming.text.empty());
    (void)worker.receive<channel::Ready>();
}

TEST_CASE("a worker serves nobody before the order to start") {
    const testing::CounterZone zone;
    const testing::Listener listener;
    Hired worker;
    worker.give(zone.zone);
    worker.give(listener);
    Client early{listener};
    early.send("early");
    // A command that is answered, so that those before it have been obeyed.
    auto [mine, theirs] = channel::Channel::pair().value();
    worker.send(channel::OpenPeer{.slot = 0, .generation = 1}, std::move(theirs).release());
    REQUIRE(testing::readable(mine.fd()));
    CHECK(listener.has_waiting());
    worker.start();
    (void)worker.receive<channel::Ready>();
    CHECK(early.receives("early"));
}

TEST_CASE("a worker serves a listener that was added later, each by its own service") {
    Serving serving;
    const testing::Listener later;
    serving.worker.give(later, "informer", 1);
    Client client{later};
    CHECK(client.receives("slot 3 generation 7 pool find a pool: No such file"));
    Client first{serving.listener};
    CHECK(first.echoes("still here"));
}

TEST_CASE("a service that keeps its worker from all else is named in the log") {
    Serving serving;
    const testing::Listener later;
    serving.worker.give(later, "blocker", 1);
    Client client{later};
    client.send("x");
    CHECK(client.receives("done"));
    CHECK(testing::reads(serving.worker.errors(), "blocker kept all other tasks waiting"));
}

TEST_CASE("a service is named in the log when it blocks before it has first waited") {
    const Serving serving{"blocker at once"};
    Client client{serving.listener};
    CHECK(client.receives("done"));
    CHECK(testing::reads(serving.worker.errors(), "blocker at once kept all other tasks waiting"));
}

TEST_CASE("a worker without its counters does not start, says why, and says no more") {
    const testing::Listener listener;
    Hired worker;
    worker.give(listener);
    worker.start();
    const auto failed = worker.receive<channel::Failed>();
    CHECK(failed.error_number == ENOENT);
    CHECK(failed.text.find("counters") != std::string::npos);
    CHECK(worker.says_no_more());
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a worker whose row is not in the table does not start") {
    const testing::CounterZone zone;
    Hired worker;
    worker.give(zone.zone);
    worker.send(channel::Start{.slot = 0,
                               .generation = 1,
                               .row = testing::CounterZone::rows,
                               .drain_timeout = Milliseconds{0}});
    CHECK(worker.receive<channel::Failed>().error_number == EDOM);
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a worker with a listener of an unknown service fails and is never ready") {
    const testing::CounterZone zone;
    const testing::Listener listener;
    Hired worker;
    worker.give(zone.zone);
    worker.give(listener, "unknown");
    worker.start();
    const auto failed = worker.receive<channel::Failed>();
    CHECK(failed.error_number == EINVAL);
    CHECK(failed.text.find("unknown") != std::string::npos);
    CHECK(worker.says_no_more());
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a worker whose service cannot be made fails and is never ready") {
    const testing::Listener listener;
    auto options = testing::options();
    options.services["broken"] = []() -> std::unique_ptr<worker::Service> {
        throw std::runtime_error{"no such thing"};
    };
    Hired worker{std::move(options)};
    worker.give(listener, "broken");
    worker.start();
    CHECK(worker.receive<channel::Failed>().text.find("service broken") != std::string::npos);
    CHECK(worker.says_no_more());
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a worker given something else as a zone fails and is never ready") {
    const testing::CounterZone zone;
    Hired worker;
    worker.give(zone.zone);
    Fd unsealed{::memfd_create("unsealed", MFD_CLOEXEC)};
    REQUIRE(::ftruncate(unsealed.get(), 4'096) == 0);
    worker.send(channel::AddZone{.name = "limits", .tag = "", .size = Bytes{4096}},
                std::move(unsealed));
    worker.start();
    CHECK(worker.receive<channel::Failed>().text.find("zone limits") != std::string::npos);
    CHECK(worker.says_no_more());
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a worker given two listeners of one number fails") {
    const testing::Listener one, two;
    Hired worker;
    worker.give(one, "echo", 5);
    worker.give(two, "echo", 5);
    CHECK(worker.receive<channel::Failed>().error_number == EEXIST);
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a worker that cannot prepare itself says so and exits with 1") {
    auto options = testing::options();
    options.ring_made = [](uring::Backend) -> Result<void> {
        return Error{"setuid", std::errc::operation_not_permitted};
    };
    Hired worker{std::move(options)};
    const auto failed = worker.receive<channel::Failed>();
    CHECK(failed.error_number == EPERM);
    CHECK(failed.text.find("setuid") != std::string::npos);
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a worker without a ring says what the kernel said and exits with 1") {
    auto options = testing::options();
    options.loop.submissions = 0;
    Hired worker{std::move(options)};
    CHECK(worker.receive<channel::Failed>().text.find("io_uring") != std::string::npos);
    CHECK(worker.exit_code() == 1);
}

TEST_CASE("a message that is not for a worker ends it") {
    SECTION("before the start, with a reason for the master") {
        Hired worker;
        worker.send(channel::Ready{.slot = 0, .generation = 1});
        const auto failed = worker.receive<channel::Failed>();
        CHECK(failed.error_number == EPROTO);
        CHECK(failed.text.find("ready") != std::string::npos);
        CHECK(worker.exit_code() == 1);
    }
    SECTION("after the start, with its connections") {
        Serving serving;
        Client client{serving.listener};
        REQUIRE(client.echoes("x"));
        serving.worker.send(channel::Hello{.slot = 0, .generation = 1});
        CHECK(client.is_cut());
        CHECK(serving.worker.exit_code() == 1);
    }
}

TEST_CASE("a second order to start ends the worker") {
    Serving serving;
    serving.worker.start();
    CHECK(serving.worker.exit_code() == 1);
}

TEST_CASE("a worker writes to the log it is given, and to standard error when given none") {
    const testing::CounterZone zone;
    Hired worker;
    testing::Pipe log;
    worker.give(zone.zone);
    worker.send(channel::ReopenLogs{}, std::move(log.write));
    worker.start();
    CHECK(testing::reads(log.read, "ready\n"));
    worker.send(channel::ReopenLogs{});
    worker.send(channel::Drain{Milliseconds{1'000}});
    CHECK(testing::reads(worker.errors(), "draining 0 connections\n"));
    CHECK_FALSE(testing::reads(log.read, "draining"));  // closed: nobody writes there any more
    CHECK(worker.exit_code() == 0);
}

TEST_CASE("a full worker leaves connections in the kernel until one of its own ends") {
    auto options = testing::options();
    options.connections = 2;
    Serving serving{"echo", std::move(options)};
    Client first{serving.listener};
    REQUIRE(first.echoes("x"));
    Client second{serving.listener};
    REQUIRE(second.echoes("x"));
    Client third{serving.listener};
    third.send("me too");
    for (int i = 0; i < 3; ++i) REQUIRE(first.echoes("y"));  // the worker has had its turns
    CHECK(serving.listener.has_waiting());
    CHECK(serving.counted(Counter::accepted) == 2);
    first.close();
    CHECK(third.receives("me too"));
    Client fourth{serving.listener};
    fourth.send("and me");
    second.close();
    CHECK(fourth.receives("and me"));
    CHECK(serving.counted(Counter::accepted) == 4);
}

TEST_CASE("the limit of connections is exceeded by at most one for each further listener") {
    const testing::CounterZone zone;
    // Every listener's accept is in flight already when the limit is reached.
    const testing::Listener one, two;
    auto options = testing::options();
    options.connections = 1;
    Hired worker{std::move(options)};
    worker.give(zone.zone);
    worker.give(one, "echo", 0);
    worker.give(two, "echo", 1);
    worker.start();
    (void)worker.receive<channel::Ready>();
    Client first{one};
    REQUIRE(first.echoes("x"));
    Client second{two};
    REQUIRE(second.echoes("y"));
    Client third{two};
    third.send("z");
    for (int i = 0; i < 3; ++i) REQUIRE(first.echoes("x"));  // the worker has had its turns
    CHECK(two.has_waiting());
}
