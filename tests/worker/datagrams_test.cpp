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

#include "hired.h"
#include "mailbox.h"

using namespace ringfort;
using testing::Hired;
using testing::Mailbox;
using testing::Sender;
using testing::Served;
using worker::Counter;

namespace {

/// Sends back what it gets.
struct Mirror {
    Served on_datagram(net::Delivery datagram, worker::Context&) {
        co_return co_await datagram.reply(datagram.bytes());
    }
};
static_assert(worker::Serves<Mirror> && !worker::TakesConnections<Mirror>);
static_assert(worker::Serves<testing::Echo> && !worker::TakesDatagrams<testing::Echo>);

/// Sends back what it gets when its worker drains, and not before.
struct Late {
    Served on_datagram(net::Delivery datagram, worker::Context& context) {
        const auto waited = co_await context.draining().wait();
        if (!waited) co_return waited.error();
        co_return co_await datagram.reply(datagram.bytes());
    }
};

/// Throws at "throw", fails at "fail", waits for the drain at "wait"; sends back all else.
struct Moody {
    Served on_datagram(net::Delivery datagram, worker::Context& context) {
        if (datagram.packet().bytes.text() == "wait") (void)co_await context.draining().wait();
        if (datagram.packet().bytes.text() == "throw") throw std::runtime_error{"thrown"};
        if (datagram.packet().bytes.text() == "fail") co_return Error{"a test", EINVAL};
        co_return co_await datagram.reply(datagram.bytes());
    }
};

/// Says, when its worker drains, how many of its tasks there have been at a time.
struct Crowd {
    std::uint32_t tasks = 0;
    std::uint32_t most = 0;

    Served on_datagram(net::Delivery datagram, worker::Context& context) {
        most = std::max(most, ++tasks);
        const auto waited = co_await context.draining().wait();
        --tasks;
        if (!waited) co_return waited.error();
        const std::string answer = std::to_string(most);
        co_return co_await datagram.reply(std::as_bytes(std::span{answer}));
    }
};

/// Waits until it is cancelled, and makes nothing of it, which many would fill the log with. "go"
/// waits for the drain.
struct Never {
    Served on_datagram(net::Delivery datagram, worker::Context& context) {
        if (datagram.packet().bytes.text() == "go") co_return co_await context.draining().wait();
        (void)co_await context.loop().sleep(Milliseconds{60'000});
        co_return {};
    }
};

/// Answers when it is told to, and until then nothing.
struct Gate {
    std::unique_ptr<coro::Event> opened = std::make_unique<coro::Event>();

    Served on_datagram(net::Delivery datagram, worker::Context&) {
        if (datagram.packet().bytes.text() == "open") opened->set();
        const auto waited = co_await opened->wait();
        if (!waited) co_return waited.error();
        co_return co_await datagram.reply(datagram.bytes());
    }
};

worker::Options options() {
    worker::Options made;
    made.services.emplace("crowd", testing::make<Crowd>());
    made.services.emplace("gate", testing::make<Gate>());
    made.services.emplace("never", testing::make<Never>());
    made.services.emplace("mirror", testing::make<Mirror>());
    made.services.emplace("late", testing::make<Late>());
    made.services.emplace("moody", testing::make<Moody>());
    made.services.emplace("echo", testing::make<testing::Echo>());
    return made;
}

struct Serving {
    testing::CounterZone zone;
    Mailbox mailbox;
    Hired worker{options()};

    explicit Serving(const char* service = "mirror", const char* at = "127.0.0.1:0") : mailbox{at} {
        worker.give(zone.zone);
        give(mailbox, service, 0);
        worker.start();
        (void)worker.receive<channel::Ready>();
    }
    void give(const Mailbox& box, const char* service, std::uint32_t id) {
        worker.send(channel::AddListener{.id = id, .service = service, .address = box.address},
                    box.socket.duplicate().value());
    }
    [[nodiscard]] std::uint64_t counted(Counter counter) const {
        return zone.counters.get(2, counter);
    }
    /// Has the worker receive so many datagrams; those beyond what is dealt with at a time are
    /// received ahead.
    void fill(Sender& sender, std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            sender.send("x");
            // The socket's own room is small.
            if (i % 64 == 63 || i + 1 == count) REQUIRE(mailbox.is_emptied());
        }
        // The order to take a listener in is obeyed when those before it have been dealt with.
        const Mailbox other;
        give(other, "mirror", 1);
        CHECK(Sender{other.address}.ask("obeyed") == "obeyed");
    }
    void begin_drain(Milliseconds time = Milliseconds{60'000}) {
        worker.send(channel::Drain{time});
        (void)worker.receive<channel::Draining>();
    }
};

}  // namespace

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
