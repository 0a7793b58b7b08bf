// Listeners of UDP in a worker.
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

TEST_CASE("a worker answers datagrams, and counts them apart from connections") {
    Serving serving;
    Sender sender{serving.mailbox.address};
    CHECK(sender.ask("hello") == "hello");
    CHECK(sender.ask("").empty());
    CHECK(sender.ask(std::string(1'400, 'x')) == std::string(1'400, 'x'));
    serving.begin_drain();
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::datagrams) == 3);
    CHECK(serving.counted(Counter::accepted) == 0);
    CHECK(serving.counted(Counter::failed) == 0);
}

TEST_CASE("a worker answers from the address of a wildcard that was written to") {
    Serving serving{"mirror", "*:0"};
    const auto port = std::to_string(serving.mailbox.address.port());
    for (const char* host : {"127.0.0.1:", "127.0.0.2:"}) {
        // Connected: an answer from elsewhere does not come through.
        Sender sender{Address::parse(host + port).value()};
        CHECK(sender.ask(host) == host);
    }
}

TEST_CASE("a service that throws or fails at a datagram loses that one and nothing else") {
    Serving serving{"moody"};
    Sender sender{serving.mailbox.address};
    sender.send("throw");
    CHECK(testing::reads(serving.worker.errors(), "a service threw at a datagram: thrown"));
    sender.send("fail");
    CHECK(sender.ask("sane") == "sane");
    serving.begin_drain();
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::failed) == 2);
    CHECK(serving.counted(Counter::datagrams) == 3);
}

TEST_CASE("datagrams overtake each other: one that waits for something keeps no other waiting") {
    Serving serving{"moody"};
    Sender sender{serving.mailbox.address};
    sender.send("wait");
    for (int i = 0; i < 3; ++i) CHECK(sender.ask("quick") == "quick");
    serving.begin_drain();
    CHECK(sender.receive() == "wait");
    CHECK(serving.worker.exit_code() == 0);
}

TEST_CASE("an answer that nobody takes keeps no other from being given") {
    Serving serving;  // made before the client, of whose socket its worker would have a copy
    Mailbox box;
    std::optional<Mailbox> client{std::in_place};
    const Address home = client->address;
    REQUIRE(::connect(box.socket.get(), home.data(), home.size()) == 0);
    serving.give(box, "mirror", 5);
    CHECK(Sender{serving.mailbox.address}.ask("obeyed") == "obeyed");
    serving.worker.hold();
    client->send_to(box.address, "x");
    client.reset();  // what comes here is refused from now on, and the worker's socket told so
    serving.worker.signal(SIGCONT);
    CHECK(box.is_emptied());
    CHECK(Sender{serving.mailbox.address}.ask("obeyed") == "obeyed");
    client.emplace(home.text().c_str());
    client->send_to(box.address, "y");
    CHECK(testing::readable(client->socket.get()));
    serving.begin_drain();
    CHECK(serving.worker.exit_code() == 0);
    CHECK_FALSE(testing::reads(serving.worker.errors(), "no datagram is received"));
}

TEST_CASE("a service without on_datagram that is given a socket of UDP fails, one by one") {
    Serving serving{"echo"};
    Sender sender{serving.mailbox.address};
    sender.send("hello");
    CHECK(testing::reads(serving.worker.errors(), "take a datagram"));
    serving.begin_drain();
    CHECK(serving.worker.exit_code() == 0);
    CHECK(serving.counted(Counter::failed) == 1);
}

TEST_CASE("so many datagrams are dealt with at a time, and all when there is room again") {
    Serving serving{"late"};
    Sender sender{serving.mailbox.address};
    constexpr std::uint32_t more = 50;
    serving.fill(sender, limits::datagrams_in_service + more);
    CHECK(serving.counted(Counter::datagrams) == limits::datagrams_in_service + 1);
    serving.begin_drain();
    std::uint32_t answers = 0;
    while (answers < limits::datagrams_in_service + more && sender.receive() == "x") ++answers;
    CHECK(answers == limits::datagrams_in_service + more);
    CHECK(serving.worker.exit_code() == 0);
}

TEST_CASE("a datagram that waits for others to be dealt with is dealt with when one has been") {
    Serving serving{"gate"};
    Sender sender{serving.mailbox.address};
    constexpr std::uint32_t all = limits::datagrams_in_service + 50;
    serving.fill(sender, all);
    const Mailbox other;
    serving.give(other, "gate", 2);
    CHECK(Sender{other.address}.ask("open") == "open");
    for (std::uint32_t i = 0; i < all; ++i) REQUIRE(sender.receive() == "x");
}
