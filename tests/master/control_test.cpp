// The control socket's server, played with by clients of every kind.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.master;

#include "../temp_dir.h"

using namespace ringfort;
using master::ControlRequest;
using master::ControlServer;

namespace {

/// A server at a socket of its own, and the time it believes in.
struct Bench {
    testing::TempDir dir;
    std::string path = dir.file("control.sock");
    ControlServer server;
    Instant time = now();

    Bench() {
        auto door = cycle::Listener::open({.address = Address::parse("unix:" + path).value(),
                                           .service = {},
                                           .mode = config::FileMode{0600}});
        REQUIRE(door);
        REQUIRE(::fcntl((*door)->socket().get(), F_SETFL, O_NONBLOCK) == 0);
        server.listen(*std::move(door));
    }
    /// One turn of the master's loop, with what has happened by now.
    std::vector<ControlRequest> turn() {
        std::vector<pollfd> polled;
        server.add_to(polled, time);
        REQUIRE(::poll(polled.data(), polled.size(), 0) >= 0);
        return server.serve(polled, time);
    }
    std::vector<ControlRequest> turns() {
        auto all = turn();
        for (int i = 0; i < 4; ++i)
            for (auto& one : turn()) all.push_back(std::move(one));
        return all;
    }
    [[nodiscard]] Fd client() const {
        Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const auto address = Address::parse("unix:" + path).value();
        REQUIRE(::connect(socket.get(), address.data(), address.size()) == 0);
        return socket;
    }
    void answer(const ControlRequest& request, bool success, std::string text) {
        server.answer(request.client, {.success = success, .text = std::move(text)}, time);
    }
};

void put(const Fd& to, std::string_view text) {
    REQUIRE(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(text.size()));
}

/// Reads what is there; nothing when the connection is open and silent.
std::optional<std::string> heard(const Fd& from) {
    std::array<char, 4'096> bytes{};
    const ssize_t count = ::recv(from.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count < 0) return std::nullopt;
    return std::string{bytes.data(), static_cast<std::size_t>(count)};
}

}  // namespace

TEST_CASE("an order is a line, however it arrives, and its answer ends with how it went") {
    Bench bench;
    const Fd client = bench.client();
    CHECK(bench.turns().empty());
    put(client, "sta");
    CHECK(bench.turns().empty());
    put(client, "tus\nand more");
    const auto requests = bench.turns();
    REQUIRE(requests.size() == 1);
    CHECK(requests[0].order == "status");
    CHECK(requests[0].sender == ::getpid());
    CHECK_FALSE(heard(client).has_value());
    bench.answer(requests[0], true, "all is well");
    CHECK(bench.turns().empty());
    CHECK(heard(client) == "all is well\nok\n");
    CHECK(heard(client) == "");  // closed
}

TEST_CASE("a client may close its half behind the order, with or without a newline") {
    Bench bench;
    for (const std::string_view order : {"reload", "reload\n"}) {
        const Fd client = bench.client();
        put(client, order);
        REQUIRE(::shutdown(client.get(), SHUT_WR) == 0);
        const auto requests = bench.turns();
        REQUIRE(requests.size() == 1);
        CHECK(requests[0].order == "reload");
        bench.answer(requests[0], false, "");
        (void)bench.turns();
        CHECK(heard(client) == "failed\n");
    }
}

TEST_CASE("an order is obeyed though the client has gone, and its answer goes nowhere") {
    Bench bench;
    put(bench.client(), "reopen\n");
    const auto requests = bench.turns();
    REQUIRE(requests.size() == 1);
    CHECK(requests[0].order == "reopen");
    bench.answer(requests[0], true, "done");
    CHECK(bench.turns().empty());
    CHECK_FALSE(bench.server.next_deadline());
}

TEST_CASE("a client that asks nothing, too much or too slowly is dropped") {
    Bench bench;
    const Fd silent = bench.client();
    const Fd slow = bench.client();
    const Fd wordy = bench.client();
    put(slow, "rel");
    put(wordy, std::string(limits::max_control_line_bytes + 1, 'x'));
    CHECK(bench.turns().empty());
    CHECK(heard(wordy) == "an order has at most 256 bytes\nfailed\n");
    CHECK(bench.server.next_deadline() == bench.time + limits::control_timeout_ms);
    bench.time += limits::control_timeout_ms - Milliseconds{1};
    CHECK(bench.turns().empty());
    CHECK_FALSE(heard(silent).has_value());
    bench.time += Milliseconds{1};
    CHECK(bench.turns().empty());
    CHECK(heard(silent) == "");
    CHECK(heard(slow) == "");
    CHECK_FALSE(bench.server.next_deadline());
}

TEST_CASE("who waits for an answer has all the time, and who does not read it has not") {
    Bench bench;
    const Fd client = bench.client();
    put(client, "reload\n");
    const auto requests = bench.turns();
    REQUIRE(requests.size() == 1);
    bench.time += 100 * limits::control_timeout_ms;
    CHECK_FALSE(bench.server.next_deadline());
    CHECK(bench.turns().empty());
    bench.answer(requests[0], true, std::string(std::size_t{4} << 20, 'x'));  // more than it takes
    CHECK(bench.turns().empty());
    CHECK(bench.server.next_deadline() == bench.time + limits::control_timeout_ms);
    bench.time += limits::control_timeout_ms;
    CHECK(bench.turns().empty());
    CHECK_FALSE(bench.server.next_deadline());
}

TEST_CASE("clients beyond the limit wait until one has gone") {
    Bench bench;
    std::vector<Fd> crowd;
    for (std::uint32_t i = 0; i < limits::control_clients; ++i) crowd.push_back(bench.client());
    CHECK(bench.turns().empty());
    const Fd late = bench.client();
    put(late, "status\n");
    CHECK(bench.turns().empty());
    crowd.pop_back();
    const auto requests = bench.turns();
    REQUIRE(requests.size() == 1);
    CHECK(requests[0].order == "status");
}

TEST_CASE("the door can be moved, and whoever is inside stays") {
    Bench bench;
    const Fd client = bench.client();
    put(client, "reload\n");
    const auto requests = bench.turns();
    REQUIRE(requests.size() == 1);
    CHECK(bench.server.path() == bench.path);
    bench.server.listen(nullptr);
    CHECK(bench.server.path().empty());
    CHECK(::access(bench.path.c_str(), F_OK) != 0);
    bench.answer(requests[0], true, "moved");
    CHECK(bench.turns().empty());
    CHECK(heard(client) == "moved\nok\n");
}

TEST_CASE("at the end what was answered is sent, and the others learn that nothing comes") {
    Bench bench;
    const Fd answered = bench.client();
    const Fd other = bench.client();
    put(answered, "stop\n");
    const auto requests = bench.turns();
    REQUIRE(requests.size() == 1);
    bench.answer(requests[0], true, "");
    bench.server.end();
    CHECK(heard(answered) == "ok\n");
    CHECK(heard(other) == "");
    CHECK(::access(bench.path.c_str(), F_OK) != 0);
}

TEST_CASE("asking brings the answer, and says so when there is none") {
    Bench bench;
    CHECK(master::ask(bench.dir.file("nobody.sock"), "status")
              .error()
              .is(std::errc::no_such_file_or_directory));
    CHECK(master::ask(std::string(200, 'x'), "status").error().is(std::errc::filename_too_long));
    for (const bool answers : {true, false}) {
        std::optional<Result<master::ControlAnswer>> answer;
        std::thread asking{[&] { answer = master::ask(bench.path, "reload"); }};
        std::vector<ControlRequest> requests;
        while (requests.empty()) {
            requests = bench.turn();
            std::this_thread::sleep_for(Milliseconds{1});
        }
        if (answers) {
            bench.answer(requests[0], false, "one\ntwo");
            (void)bench.turns();
        } else {
            bench.server.end();
        }
        asking.join();
        CHECK(answer->has_value() == answers);
        if (answers) {
            CHECK_FALSE((*answer)->success);
            CHECK((*answer)->text == "one\ntwo\n");
        } else {
            CHECK(answer->error().is(std::errc::connection_reset));
        }
    }
}
