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

// How a worker ends.

namespace {

/// Connects one client, so that there is something to wait for.
struct Busy : Serving {
    Client client{listener};
    Busy() { REQUIRE(client.echoes("x")); }
};

}  // namespace

TEST_CASE("a draining worker accepts no more, finishes its connections, and exits with 0") {
    Busy busy;
    busy.worker.send(channel::Drain{Milliseconds{60'000}});
    const auto draining = busy.worker.receive<channel::Draining>();
    CHECK(draining.slot == 3);
    CHECK(draining.generation == 7);
    CHECK(draining.connections == 1);
    Client late{busy.listener};
    CHECK(busy.client.echoes("still served"));
    CHECK(busy.listener.has_waiting());
    busy.client.close();
    CHECK(busy.worker.says_no_more());
    CHECK(busy.worker.exit_code() == 0);
    CHECK(busy.listener.has_waiting());  // for the worker that comes next
}

TEST_CASE("a draining worker takes so many that wait, and leaves the rest to others") {
    auto options = testing::options();
    options.connections = 1;
    Serving serving{"polite", std::move(options)};
    REQUIRE(::listen(serving.listener.socket.get(), 256) == 0);
    std::vector<std::unique_ptr<Client>> clients;
    for (std::uint32_t i = 0; i < 1 + limits::last_accepts + 10; ++i)
        clients.push_back(std::make_unique<Client>(serving.listener));
    REQUIRE(clients.front()->receives("hello"));
    serving.worker.send(channel::Drain{Milliseconds{60'000}});
    CHECK(serving.worker.receive<channel::Draining>().connections == 1 + limits::last_accepts);
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::accepted) == 1 + limits::last_accepts);
    CHECK(serving.listener.has_waiting());
}

TEST_CASE("a draining worker without connections exits at once") {
    Serving serving;
    serving.worker.send(channel::Drain{Milliseconds{60'000}});
    CHECK(serving.worker.receive<channel::Draining>().connections == 0);
    CHECK(serving.worker.exit_code() == 0);
}

TEST_CASE("connections that do not end within the drain time are cut") {
    Busy busy;
    busy.worker.send(channel::Drain{Milliseconds{30}});
    CHECK(busy.worker.receive<channel::Draining>().connections == 1);
    CHECK(busy.client.is_cut());
    CHECK(busy.worker.exit_code() == 0);
    CHECK(busy.counted(Counter::active) == 0);
}

TEST_CASE("a service learns of the drain and can end in its own way") {
    Serving serving{"polite"};
    Client client{serving.listener};
    REQUIRE(client.receives("hello"));
    serving.worker.send(channel::Drain{Milliseconds{60'000}});
    CHECK(client.receives("goodbye"));
    CHECK(client.is_cut());
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::failed) == 0);
}

TEST_CASE("terminate cuts at once") {
    Busy busy;
    SECTION("a worker that serves") {}
    SECTION("a worker that drains") {
        busy.worker.send(channel::Drain{Milliseconds{60'000}});
        (void)busy.worker.receive<channel::Draining>();
        REQUIRE(busy.client.echoes("still served"));
    }
    busy.worker.send(channel::Terminate{});
    CHECK(busy.client.is_cut());
    CHECK(busy.worker.exit_code() == 0);
    CHECK(busy.counted(Counter::active) == 0);
}

TEST_CASE("a worker ends when it is told to before it has started") {
    Hired worker;
    SECTION("by drain") {
        worker.send(channel::Drain{Milliseconds{60'000}});
    }
    SECTION("by terminate") {
        worker.send(channel::Terminate{});
    }
    CHECK(worker.says_no_more());
    CHECK(worker.exit_code() == 0);
}

TEST_CASE("a worker whose master has gone drains and exits") {
    Busy busy;
    busy.worker.leave();
    REQUIRE(testing::reads(busy.worker.errors(), "draining 1 connections"));
    Client late{busy.listener};
    CHECK(busy.client.echoes("still served"));
    CHECK(busy.listener.has_waiting());
    busy.client.close();
    CHECK(busy.worker.exit_code() == 0);
}

TEST_CASE("a worker whose master has gone cuts after the drain time it was started with") {
    const testing::CounterZone zone;
    const testing::Listener listener;
    Hired worker;
    worker.give(zone.zone);
    worker.give(listener);
    worker.send(
        channel::Start{.slot = 0, .generation = 1, .row = 0, .drain_timeout = Milliseconds{30}});
    (void)worker.receive<channel::Ready>();
    Client client{listener};
    REQUIRE(client.echoes("x"));
    worker.leave();
    CHECK(client.is_cut());
    CHECK(worker.exit_code() == 0);
}

TEST_CASE("TERM drains a worker") {
    Busy busy;
    busy.worker.signal(SIGTERM);
    CHECK(busy.worker.receive<channel::Draining>().connections == 1);
    busy.worker.signal(SIGTERM);  // again: it drains already
    CHECK(busy.client.echoes("still served"));
    busy.client.close();
    CHECK(busy.worker.exit_code() == 0);
}

TEST_CASE("a worker that drains takes no new listeners into service") {
    Busy busy;
    busy.worker.send(channel::Drain{Milliseconds{60'000}});
    (void)busy.worker.receive<channel::Draining>();
    const testing::Listener later;
    busy.worker.give(later, "echo", 1);
    Client late{later};
    CHECK(busy.client.echoes("still served"));
    CHECK(later.has_waiting());
    busy.client.close();
    CHECK(busy.worker.exit_code() == 0);
}

TEST_CASE("a listener that is taken back is accepted from no more, and its connections go on") {
    Serving serving;
    testing::Listener extra;
    serving.worker.give(extra, "echo", 9);
    Client client{extra};
    CHECK(client.echoes("lent"));
    serving.worker.send(channel::RemoveListener{9});
    serving.worker.send(channel::RemoveListener{77});  // one that it never had
    Client other{serving.listener};
    CHECK(other.echoes("mine"));  // the command has been obeyed
    Client late{extra};
    late.send("for somebody else");
    CHECK(testing::readable(extra.socket.get()));
    CHECK(client.echoes("still served"));
    client.close();
    other.close();
    CHECK(serving.drain() == 0);
    CHECK(extra.has_waiting());
}

TEST_CASE("a listener can be taken back and given again at once") {
    Serving serving;
    testing::Listener extra;
    for (int i = 0; i < 20; ++i) {
        serving.worker.give(extra, "echo", 9);
        serving.worker.send(channel::RemoveListener{9});
    }
    serving.worker.give(extra, "echo", 9);
    Client client{extra};
    CHECK(client.echoes("here"));
    client.close();
    serving.worker.send(channel::RemoveListener{9});
    CHECK(serving.drain() == 0);
}

TEST_CASE("connections that wait when a listener is lent are served at once") {
    Serving serving;
    testing::Listener extra;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 50; ++i) {
        clients.push_back(std::make_unique<Client>(extra));
        clients.back()->send("x");
    }
    serving.worker.give(extra, "echo", 9);
    for (auto& client : clients) CHECK(client->receives("x"));
}
