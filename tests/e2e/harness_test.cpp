// The harness's own tests: a client that misses an error would make every other test worthless.
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "child.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "json.h"
#include "kernel_sockets.h"
#include "load.h"
#include "log_file.h"
#include "owned_fd.h"
#include "pattern.h"
#include "processes.h"
#include "swarm.h"
#include "upstream.h"

namespace e2e {
namespace {

const Endpoint loopback = Endpoint::parse("127.0.0.1:0");

template <class Action>
std::optional<Failure> failure_of(Action action) {
    try {
        action();
    } catch (const NetError& error) {
        return error.failure;
    }
    return std::nullopt;
}

/// Sends back everything, but lies once a connection has echoed `after` bytes.
enum class Lie { change_a_byte, drop_a_byte, add_a_byte, end_early, reset, fall_silent };
Upstream::Handler liar(Lie lie, std::size_t after) {
    return [=](Connection& peer) {
        std::string text = peer.receive(after);
        if (lie == Lie::change_a_byte) text.back() = static_cast<char>(text.back() ^ 1);
        if (lie == Lie::drop_a_byte || lie == Lie::end_early) text.pop_back();
        if (lie == Lie::add_a_byte) text += 'x';
        if (lie == Lie::fall_silent) text.clear();
        peer.send(text);
        if (lie == Lie::reset) return peer.reset();
        if (lie == Lie::end_early) return;
        static_cast<void>(peer.wait_gone(Deadline::after(milliseconds{3'000})));
    };
}

TEST_CASE("harness: a pattern notices one flipped bit at any offset") {
    const Pattern pattern{7};
    std::string bytes = pattern.bytes(10'000);
    CHECK_FALSE(pattern.first_difference(0, bytes));
    CHECK_FALSE(pattern.first_difference(13, std::string_view{bytes}.substr(13)));
    CHECK(pattern.first_difference(12, std::string_view{bytes}.substr(13)) == 0u);
    bytes[4'321] = static_cast<char>(bytes[4'321] ^ 0x10);
    CHECK(pattern.first_difference(0, bytes) == 4'321u);
    CHECK(Pattern{8}.first_difference(0, pattern.bytes(8)).has_value());
}

TEST_CASE("harness: a connection notices wrong bytes, an early end, a reset and silence") {
    const Flow flow{.seed = 3, .bytes = 5'000};
    const auto run = [&](Lie lie) {
        Upstream upstream{liar(lie, flow.bytes)};
        Connection client = Connection::to(upstream.endpoint());
        return failure_of([&] {
            client.send(flow, soon());
            client.receive(flow, Deadline::after(milliseconds{300}));
            client.expect_end(Deadline::after(milliseconds{300}));
        });
    };
    CHECK(run(Lie::change_a_byte) == Failure::wrong_data);
    CHECK(run(Lie::add_a_byte) == Failure::wrong_data);
    CHECK(run(Lie::drop_a_byte) == Failure::timed_out);
    CHECK(run(Lie::end_early) == Failure::ended);
    CHECK(run(Lie::reset) == Failure::reset);
    CHECK(run(Lie::fall_silent) == Failure::timed_out);
}

TEST_CASE("harness: a connection to a port where nobody listens is refused") {
    const OwnedFd closed = reserve(loopback);
    const Endpoint nobody = Endpoint::of_socket(closed.get());
    CHECK(failure_of([&] { static_cast<void>(Connection::to(nobody)); }) == Failure::refused);
    const TempDir dir;
    const Endpoint no_file = Endpoint::parse("unix:" + dir.file("none"));
    CHECK(failure_of([&] { static_cast<void>(Connection::to(no_file)); }) == Failure::refused);
}

TEST_CASE("harness: a swarm completes against an honest echo and reports how many at once") {
    Upstream upstream{echo_back};
    const SwarmReport report =
        run_swarm(upstream.endpoint(), {.connections = 50, .bytes_each = 100'000});
    INFO(report.text());
    CHECK(report.completed == 50);
    CHECK(report.served_at_once == 50);
    CHECK(upstream.errors() == "");
}

TEST_CASE("harness: a swarm notices every way of getting an echo wrong") {
    constexpr std::size_t size = 1'000;
    for (const Lie lie : {Lie::change_a_byte, Lie::drop_a_byte, Lie::add_a_byte, Lie::end_early,
                          Lie::reset, Lie::fall_silent}) {
        Upstream upstream{[=](Connection& peer) {
            peer.send(peer.receive(64));
            liar(lie, size - 64)(peer);
        }};
        const SwarmReport report =
            run_swarm(upstream.endpoint(), {.connections = 3, .bytes_each = size},
                      Deadline::after(milliseconds{300}));
        INFO("lie " << static_cast<int>(lie) << ": " << report.text());
        CHECK(report.completed == 0);
        CHECK_FALSE(report.failures.empty());
    }
}

TEST_CASE("harness: a swarm in which some are never served does not pass for all at once") {
    Upstream upstream{[count = std::make_shared<std::atomic<int>>(0)](Connection& peer) {
        if (++*count <= 2) return;
        echo_back(peer);
    }};
    const SwarmReport report = run_swarm(upstream.endpoint(), {.connections = 10});
    INFO(report.text());
    CHECK(report.served_at_once == 8);
    CHECK(report.completed == 8);
}

TEST_CASE("harness: the load counts what fails and by which kind") {
    Upstream honest{echo_back};
    Load good{honest.endpoint(), 2};
    CHECK(good.wait_for_more(20));
    good.stop();
    INFO(good.text());
    CHECK(good.failed() == 0);

    Upstream dishonest{[](Connection& peer) { peer.send(peer.receive(1) + "x"); }};
    Load bad{dishonest.endpoint(), 2};
    CHECK(eventually(soon(), [&] { return bad.failed() > 5; }));
    bad.stop();

    const OwnedFd closed = reserve(loopback);
    Load refused{Endpoint::of_socket(closed.get()), 2};
    CHECK(eventually(soon(), [&] { return refused.failed(Failure::refused) > 5; }));
    CHECK(refused.completed() == 0);
}

TEST_CASE("harness: an exchange verifies both directions at once") {
    const Flow there{.seed = 1, .bytes = 3'000'000};
    const Flow back{.seed = 2, .bytes = 2'000'000};
    Upstream honest{[=](Connection& peer) { exchange(peer, back, there, soon()); }};
    Connection client = Connection::to(honest.endpoint());
    CHECK_FALSE(failure_of([&] { exchange(client, there, back, soon()); }));
    CHECK(honest.errors() == "");

    Connection wrong = Connection::to(honest.endpoint());
    CHECK(failure_of([&] { exchange(wrong, there, there, soon()); }) == Failure::wrong_data);
}

TEST_CASE("harness: a child's code and signal are told apart, and a hang is noticed") {
    CHECK(run({"sh", "-c", "cat; echo oops >&2; exit 3"}, "text").code == 3);
    const Finished finished = run({"sh", "-c", "cat; echo oops >&2"}, "text");
    CHECK(finished.output == "text");
    CHECK(finished.error == "oops\n");
    CHECK(run({"sleep", "100"}, "", Deadline::after(milliseconds{50})).code == -1);
    CHECK(run({"/nonexistent/program"}).code == 127);
    Child child{{.argv = {"sleep", "100"}}};
    child.signal(15);
    CHECK(child.wait().value().signal() == 15);
    CHECK(installed("sh"));
    CHECK_FALSE(installed("no-such-program-anywhere"));
}

TEST_CASE("harness: a log wait sees a line that is written later, whole lines only") {
    const TempDir dir;
    LogFile log{dir.file("log")};
    CHECK_THROWS(log.wait_for("x", 0, Deadline::after(milliseconds{20})));
    Child writer{{.argv = {"sh", "-c", "printf 'one t'; sleep 0.05; printf 'wo\\nthree\\n'"},
                  .output_path = dir.file("log")}};
    CHECK(log.wait_for("two") == "one two");
    CHECK(log.wait_for("three") == "three");
    CHECK_THROWS(log.wait_for("one", log.mark(), Deadline::after(milliseconds{20})));
}

TEST_CASE("harness: listeners are found by address, and only while they listen") {
    OwnedFd tcp = listen_on(loopback);
    const Endpoint at = Endpoint::of_socket(tcp.get());
    const std::string port = std::to_string(at.port());
    const OwnedFd elsewhere = listen_on(Endpoint::parse("127.0.0.2:" + port));
    const OwnedFd sixth = listen_on(Endpoint::parse("[::1]:" + port));
    CHECK(listeners_at(at).size() == 1);
    CHECK(listeners_at(Endpoint::of_socket(sixth.get())).size() == 1);
    const auto other = listeners_at(Endpoint::of_socket(elsewhere.get()));
    CHECK(other.size() == 1);
    CHECK(listeners_at(at) != other);
    Connection client = Connection::to(at);
    OwnedFd server{::accept(tcp.get(), nullptr, nullptr)};
    CHECK(holder_of_peer(client.fd(), {::getpid()}) == ::getpid());
    CHECK_FALSE(holder_of_peer(client.fd(), {::getppid()}));
    tcp.close();
    CHECK(listeners_at(at).empty());

    const TempDir dir;
    const Endpoint path = Endpoint::parse("unix:" + dir.file("s"));
    OwnedFd local = listen_on(path);
    CHECK(listeners_at(path).size() == 1);
    local.close();
    CHECK(listeners_at(path).empty());
}

TEST_CASE("harness: the JSON reader is strict") {
    const auto good = parse_flat_json(R"({"a":"x\"\n\u0041","b":-12.5,"c":true})");
    REQUIRE(good);
    CHECK(good->at("a") == "x\"\nA");
    CHECK(good->at("b") == "-12.5");
    for (const char* bad : {"", "{", "{}x", "{a:1}", "{'a':1}", R"({"a":1,})", R"({"a":01})",
                            R"({"a":"x)", R"({"a":"\x"})", R"({"a":1 "b":2})", R"({"a":1,"a":2})",
                            "{\"a\":\"\n\"}", "text", R"({"a":})", R"({"a":.5})"}) {
        INFO(bad);
        CHECK_FALSE(parse_flat_json(bad));
    }
}

}  // namespace
}  // namespace e2e
