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

TEST_CASE("a service without serve that is given a listener of TCP fails, one by one") {
    struct Silent : worker::Service {};
    auto options = testing::options();
    options.services.emplace("silent", [] { return std::make_unique<Silent>(); });
    Serving serving{"silent", std::move(options)};
    CHECK(Client{serving.listener}.is_cut());
    CHECK(Client{serving.listener}.is_cut());
    CHECK(testing::reads(serving.worker.errors(), "serve a connection: "));
    CHECK(serving.drain() == 0);
    CHECK(serving.counted(Counter::failed) == 2);
}

TEST_CASE("a service that throws loses its connection and nothing else") {
    Serving serving{"thrower"};
    Client client{serving.listener};
    client.send("two");
    CHECK(client.is_cut());
    CHECK(testing::reads(serving.worker.errors(), "thrown by a test"));
    Client strange{serving.listener};
    strange.send("1");  // throws what is no std::exception
    CHECK(strange.is_cut());
    const testing::Listener sane;
    serving.worker.give(sane, "echo", 1);
    Client other{sane};
    CHECK(other.echoes("x"));
    other.close();
    CHECK(serving.drain() == 0);
    CHECK(serving.counted(Counter::accepted) == 3);
    CHECK(serving.counted(Counter::failed) == 2);
    CHECK(serving.counted(Counter::active) == 0);
}

TEST_CASE("a connection that a service ends with an error is counted as failed") {
    Serving serving;
    {
        Client client{serving.listener};
        REQUIRE(client.echoes("x"));
        serving.worker.send(channel::Drain{Milliseconds{10}});
        (void)serving.worker.receive<channel::Draining>();
        CHECK(client.is_cut());
    }
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::failed) == 1);
}

TEST_CASE("a worker makes one object of a service, however many listeners have it") {
    const testing::CounterZone zone;
    const testing::Listener one, two;
    testing::Pipe made;
    auto options = testing::options();
    options.services["echo"] = [&made] {
        ensure(::write(made.write.get(), "!", 1) == 1, "write");
        return testing::make<testing::Echo>()();
    };
    Hired worker{std::move(options)};
    made.write.close();
    worker.give(zone.zone);
    worker.give(one, "echo", 0);
    worker.give(two, "echo", 1);
    worker.start();
    (void)worker.receive<channel::Ready>();
    Client first{one}, second{two};
    CHECK(first.echoes("x"));
    CHECK(second.echoes("x"));
    CHECK(testing::reads(made.read, "!"));
    CHECK_FALSE(testing::readable(made.read.get(), 0));
}

TEST_CASE("a service works beside its connections, until its worker drains") {
    Serving serving{"working"};
    Client client{serving.listener};
    client.send("?");
    CHECK(client.receives("at work"));
    client.close();
    CHECK(serving.drain() == 0);
    CHECK_FALSE(testing::reads(serving.worker.errors(), "its work has ended"));
}

TEST_CASE("work that ends with an error is told, and its service serves on") {
    Serving serving{"working"};
    Client client{serving.listener};
    client.send("end");
    CHECK(client.receives("at work"));
    CHECK(testing::reads(serving.worker.errors(),
                         "service working: its work has ended: work: Input/output error"));
    Client other{serving.listener};
    other.send("?");
    CHECK(other.receives("at work"));
}
