// Listeners of UDP in a worker that drains, or gives them back.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.net;
import ringfort.shm;
import ringfort.uring;
import ringfort.worker;

#include "services.h"

#include "datagrams.h"

using namespace ringfort;
using namespace testing::datagrams;
using worker::Counter;

TEST_CASE("a draining worker answers what it has received, and what waits where nobody else may") {
    Serving serving;
    Sender sender{serving.mailbox.address};
    CHECK(sender.ask("hello") == "hello");
    serving.worker.hold();  // what comes now waits in the socket
    for (int i = 0; i < 100; ++i) sender.send(std::to_string(i));
    serving.worker.send(channel::Drain{Milliseconds{60'000}});
    serving.worker.signal(SIGCONT);
    (void)serving.worker.receive<channel::Draining>();
    CHECK(serving.worker.exit_code() == 0);
    for (int i = 0; i < 100; ++i) REQUIRE(sender.receive() == std::to_string(i));
    sender.send("for a successor");
    CHECK(testing::readable(serving.mailbox.socket.get(), 0));
}

TEST_CASE("a draining worker receives so many datagrams, and leaves the rest to others") {
    Serving serving;
    const int room = 64 << 20;
    const int socket = serving.mailbox.socket.get();
    if (::setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
        SKIP("only root may have so large a buffer");
    Sender sender{serving.mailbox.address};
    serving.worker.hold();
    constexpr std::uint32_t many = 20 * limits::last_datagrams;
    for (std::uint32_t i = 0; i < many; ++i) sender.send("x");
    serving.worker.send(channel::Drain{Milliseconds{60'000}});
    serving.worker.signal(SIGCONT);
    (void)serving.worker.receive<channel::Draining>();
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::datagrams) >= limits::last_datagrams);
    CHECK(testing::readable(socket, 0));
}

TEST_CASE("answers that are under way when a worker drains are waited for, and cut at last") {
    Serving serving{"late"};
    Sender sender{serving.mailbox.address};
    for (int i = 0; i < 10; ++i) sender.send("patience");
    CHECK(serving.mailbox.is_emptied());
    CHECK_FALSE(sender.has_answer());
    serving.begin_drain();
    for (int i = 0; i < 10; ++i) CHECK(sender.receive() == "patience");
    CHECK(serving.worker.exit_code() == 0);

    Serving other{"late"};
    Sender waiting{other.mailbox.address};
    waiting.send("never");
    CHECK(other.mailbox.is_emptied());
    other.worker.send(channel::Terminate{});
    CHECK(other.worker.exit_code() == 0);
    CHECK_FALSE(waiting.has_answer());
}

TEST_CASE("no more datagrams are dealt with at a time by a worker that drains") {
    Serving serving{"crowd"};
    Sender sender{serving.mailbox.address};
    constexpr std::uint32_t all = limits::datagrams_in_service + 100;
    serving.fill(sender, all);
    serving.begin_drain();
    for (std::uint32_t i = 0; i < all; ++i)
        REQUIRE(sender.receive() == std::to_string(limits::datagrams_in_service));
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::datagrams) == all + 1);
    CHECK(serving.counted(Counter::failed) == 0);
}

TEST_CASE("no more datagrams are dealt with at a time when a socket of UDP is taken back") {
    Serving serving{"crowd"};
    Sender sender{serving.mailbox.address};
    constexpr std::uint32_t all = limits::datagrams_in_service + 100;
    serving.fill(sender, all);
    serving.worker.send(channel::RemoveListener{0});
    serving.worker.send(channel::RemoveListener{1});
    serving.begin_drain();
    for (std::uint32_t i = 0; i < all; ++i)
        REQUIRE(sender.receive() == std::to_string(limits::datagrams_in_service));
    CHECK(serving.worker.exit_code() == 0);
}

TEST_CASE("datagrams that are cut are told of, those that no task has yet among them") {
    constexpr std::uint32_t all = limits::datagrams_in_service + 100;
    SECTION("when the drain time is over") {
        Serving serving{"never"};
        Sender sender{serving.mailbox.address};
        for (int i = 0; i < 50; ++i) sender.send("go");
        CHECK(serving.mailbox.is_emptied());
        serving.fill(sender, all);
        serving.begin_drain(Milliseconds{50});
        CHECK(testing::reads(
            serving.worker.errors(),
            "drain time of 50 ms is over: " + std::to_string(all) + " datagrams are cut\n"));
        CHECK(serving.worker.exit_code() == 0);
        // Those that waited were never given to the service.
        CHECK(serving.counted(Counter::datagrams) == 50 + limits::datagrams_in_service + 1);
    }
    SECTION("when the worker is told to end at once") {
        Serving serving{"never"};
        Sender sender{serving.mailbox.address};
        for (int i = 0; i < 3; ++i) sender.send("x");
        CHECK(serving.mailbox.is_emptied());
        const Mailbox other;
        serving.give(other, "mirror", 1);
        CHECK(Sender{other.address}.ask("obeyed") == "obeyed");
        serving.worker.send(channel::Terminate{});
        CHECK(
            testing::reads(serving.worker.errors(), "told to end at once: 3 datagrams are cut\n"));
        CHECK(serving.worker.exit_code() == 0);
    }
}

TEST_CASE(
    "a socket of UDP that is taken back is received from no more, what was received answered") {
    Serving serving;
    Mailbox extra;
    Sender sender{extra.address};
    sender.send("waits when it is lent");
    serving.give(extra, "mirror", 9);
    CHECK(sender.receive() == "waits when it is lent");
    serving.worker.send(channel::RemoveListener{9});
    CHECK(Sender{serving.mailbox.address}.ask("obeyed") == "obeyed");
    // The kernel lets go of the socket in its own time: whatever was taken until then is answered.
    bool left = false;
    for (int i = 0; i < 500 && !left; ++i) {
        sender.send("late");
        left = testing::readable(extra.socket.get(), 0) && ::usleep(20'000) == 0 &&
               testing::readable(extra.socket.get(), 0);
        if (!left) CHECK(sender.receive() == "late");
    }
    CHECK(left);
    for (int i = 0; i < 5; ++i) {
        serving.give(extra, "mirror", 9);
        serving.worker.send(channel::RemoveListener{9});
    }
    serving.give(extra, "mirror", 9);
    CHECK(sender.receive() == "late");
    serving.begin_drain();
    CHECK(serving.worker.exit_code() == 0);
}
