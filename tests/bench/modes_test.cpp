// The modes of the load generator: against a faultless server they count what happens, and against
// one that makes a mistake each of them notices.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

import load;
import ringfort;

#include "small_load.hpp"

using bench::bulk_bytes;
using bench::clients;
using bench::Fault;
using bench::FaultyServer;
using bench::load_on;
using bench::outcome_of;
using bench::small_load;
using load::Mode;
using load::Options;
using load::Report;
using std::chrono::milliseconds;

namespace {

/// A port whose queue of connections is full: who connects waits for an answer that never comes.
class BlackHole {
public:
    BlackHole() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* const generic = reinterpret_cast<sockaddr*>(&address);
        const ringfort::Fd& listener = sockets_.emplace_back(open());
        REQUIRE(::bind(listener.get(), generic, size) == 0);
        REQUIRE(::listen(listener.get(), 0) == 0);
        REQUIRE(::getsockname(listener.get(), generic, &size) == 0);
        port_ = ntohs(address.sin_port);
        for (int i = 0; i < 4; ++i)
            (void)::connect(sockets_.emplace_back(open()).get(), generic, size);
    }
    [[nodiscard]] std::uint16_t port() const { return port_; }

private:
    static ringfort::Fd open() {
        return ringfort::Fd{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    }
    std::vector<ringfort::Fd> sockets_;
    std::uint16_t port_ = 0;
};

}  // namespace

TEST_CASE("every mode finds a faultless server faultless") {
    for (const Mode mode : {Mode::echo, Mode::churn, Mode::bulk, Mode::idle}) {
        const Report report = load_on(Fault::none, mode);
        INFO(load::name_of(mode) << " says: " << load::describe(report));
        CHECK(report.clean());
        CHECK(report.requests > 0);
    }
}

TEST_CASE("control: every mode notices one wrong bit") {
    for (const Mode mode : {Mode::echo, Mode::churn, Mode::bulk}) {
        const Report report = load_on(Fault::corrupt, mode);
        INFO(load::name_of(mode) << " says: " << load::describe(report));
        CHECK(report.failures.mismatched == 1);
        CHECK_FALSE(report.clean());
    }
    const FaultyServer server(Fault::corrupt, 2);
    CHECK(outcome_of(small_load(server, Mode::idle)).failures.mismatched == 1);
}

TEST_CASE("control: every mode notices a server that refuses, resets, stalls or closes early") {
    for (const Mode mode : {Mode::echo, Mode::churn, Mode::bulk}) {
        INFO(load::name_of(mode));
        CHECK(load_on(Fault::refuse, mode).failures.refused == clients);
        const Report reset = load_on(Fault::reset, mode);
        INFO("of resets it says: " << load::describe(reset));
        CHECK(reset.failures.reset == 1);
        CHECK(load_on(Fault::close_early, mode).failures.total() == 1);
        CHECK(load_on(Fault::stall, mode).failures.timed_out == clients);
    }
    CHECK(load_on(Fault::refuse, Mode::idle).failures.refused == clients);
    const FaultyServer server(Fault::stall, 2);
    CHECK(outcome_of(small_load(server, Mode::idle)).failures.timed_out > 0);
}

TEST_CASE("control: churn notices a byte too many and a server that does not close") {
    const Report late = load_on(Fault::last_word, Mode::churn);
    CHECK(late.failures.excess == clients);
    CHECK(load_on(Fault::stay_open, Mode::churn).failures.timed_out == clients);
}

TEST_CASE("churn opens a connection for each request") {
    const FaultyServer server(Fault::none);
    const Report report = outcome_of(small_load(server, Mode::churn));
    CHECK(server.connections() >= report.requests);
    CHECK(report.requests > clients);
    CHECK(report.latency.count() == report.requests);
}

TEST_CASE("bulk counts bytes and messages, and no latency") {
    const FaultyServer server(Fault::none);
    const Report report = outcome_of(small_load(server, Mode::bulk));
    // A message may have begun to arrive before the window did, on each connection.
    CHECK(report.bytes + clients * bulk_bytes >= report.requests * bulk_bytes);
    CHECK(report.bytes > 0);
    CHECK(report.latency.count() == 0);
}

TEST_CASE("idle has one request answered on each connection and holds them") {
    const FaultyServer server(Fault::none);
    Options options = small_load(server, Mode::idle);
    options.connections = 300;
    const Report report = outcome_of(options);
    INFO("it says: " << load::describe(report));
    CHECK(report.clean());
    CHECK(report.requests == 300);
    CHECK(report.connected == 300);
    CHECK(server.connections() == 300);
}

TEST_CASE("a fixed rate is kept and not exceeded") {
    const FaultyServer server(Fault::none);
    Options options = small_load(server, Mode::echo);
    options.rate_per_s = 400;
    options.duration = milliseconds(500);
    const Report report = outcome_of(options);
    CHECK(report.clean());
    CHECK(report.requests <= 210);
    CHECK(report.requests >= 100);  // a busy machine may lag; it must not invent requests
}

TEST_CASE("at a fixed rate a pause of the server delays every request that was due in it") {
    // A closed loop sends one request a connection into the pause and sees that one delayed.
    constexpr milliseconds pause{200};
    const FaultyServer server(Fault::pause, 10);
    Options options = small_load(server, Mode::echo);
    options.connections = 1;
    options.depth = 1000;
    options.rate_per_s = 1000;
    options.warmup = milliseconds(0);
    options.duration = milliseconds(600);
    const Report report = outcome_of(options);
    INFO("it says: " << load::describe(report));
    CHECK(report.clean());
    // About 200 requests were due in the pause; those of its first half waited half of it or more.
    const double share = 50.0 / static_cast<double>(report.requests);
    CHECK(report.latency.quantile(1 - share) >=
          1'000'000U * static_cast<unsigned>(pause.count()) / 2);
}

TEST_CASE("at a fixed rate a pause beyond the end of the window delays every request due in it") {
    // Due from 10 ms on, they are answered 210 ms after the begin, and the window ends before that;
    // those that the pipeline has no room for are never sent.
    const FaultyServer server(Fault::pause, 10);
    Options options = small_load(server, Mode::echo);
    options.connections = 1;
    options.depth = 100;
    options.rate_per_s = 1000;
    options.warmup = milliseconds(0);
    options.duration = milliseconds(150);
    const Report report = outcome_of(options);
    INFO("it says: " << load::describe(report));
    CHECK(report.failures.total() == 0);
    CHECK(report.behind > 0);
    const auto due = static_cast<std::uint64_t>(report.seconds * options.rate_per_s);
    CHECK(report.latency.count() >= due - 2);
    CHECK(report.latency.count() <= due + 2);
    CHECK(report.latency.quantile(0.5) >= 50'000'000U);
}

TEST_CASE("at a fixed rate a request that is never answered counts as long as it was waited for") {
    const FaultyServer server(Fault::stall, 1);
    Options options = small_load(server, Mode::echo);
    options.connections = 1;
    options.depth = 10;
    options.rate_per_s = 100;
    options.warmup = milliseconds(0);
    options.duration = milliseconds(50);
    options.timeout = milliseconds(300);
    const Report report = outcome_of(options);
    CHECK(report.failures.timed_out == 1);
    CHECK(report.latency.count() >= 4);
    CHECK(report.latency.quantile(0.5) >= 200'000'000U);
}

TEST_CASE("an interrupt ends every mode at once, also while nobody answers or accepts") {
    const FaultyServer stalled(Fault::stall, 1);
    const BlackHole hole;
    for (const std::uint16_t port : {stalled.port(), hole.port()}) {
        for (const Mode mode : {Mode::echo, Mode::churn, Mode::bulk, Mode::idle}) {
            INFO(load::name_of(mode) << (port == hole.port() ? ", connecting" : ", stalled"));
            Options options = small_load(stalled, mode);
            options.target = *ringfort::Address::parse(fmt::format("127.0.0.1:{}", port));
            options.timeout = milliseconds(20'000);
            options.duration = milliseconds(20'000);
            const auto begun = std::chrono::steady_clock::now();
            options.interrupted = [&] {
                return std::chrono::steady_clock::now() - begun > milliseconds(100);
            };
            const Report report = outcome_of(options);
            CHECK(std::chrono::steady_clock::now() - begun < milliseconds(10'000));
            CHECK(report.interrupted);
            CHECK(report.failures.total() == 0);
        }
    }
}

TEST_CASE("more connections than the limit of descriptors allows are refused beforehand") {
    const FaultyServer server(Fault::none);
    Options options = small_load(server, Mode::echo);
    options.connections = load::max_connections;
    if (load::raise_fd_limit() > options.connections) SKIP("this limit is too high to be reached");
    const auto report = load::run(options);
    REQUIRE_FALSE(report.has_value());
    CHECK(report.error().is(std::errc::too_many_files_open));
    CHECK(server.connections() == 0);
}

TEST_CASE("a measured process's CPU time and memory grow") {
    const auto self = load::Measured::open({::getpid()});
    REQUIRE(self.has_value());
    const auto before = self->read(load::Measured::What::cpu_and_memory);
    REQUIRE(before.has_value());
    auto after = before;
    while (after.has_value() && after->cpu_ns - before->cpu_ns < 1'000'000) after = self->read();
    CHECK(after.has_value());
    CHECK(before->resident_bytes > 0);
    CHECK(load::kernel_memory().slab_bytes > 0);
}

TEST_CASE("a plot is a whole SVG document with both curves") {
    const FaultyServer server(Fault::none);
    const Options options = small_load(server, Mode::echo);
    const std::string svg = load::to_svg(options, outcome_of(options));
    CHECK(svg.starts_with("<svg "));
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(svg.find("<polyline", svg.find("<polyline") + 1) != svg.npos);
    CHECK(svg.find("nan") == svg.npos);
}

TEST_CASE("a load tells how far it is while it runs") {
    const FaultyServer server(Fault::none);
    Options options = small_load(server, Mode::echo);
    std::vector<load::Progress> told;
    options.progress = [&](const load::Progress& progress) { told.push_back(progress); };
    const Report report = outcome_of(options);
    REQUIRE(!told.empty());
    CHECK(told.back().answered > 0);
    CHECK(told.back().answered >= told.front().answered);
    CHECK(told.back().seconds > 0);
    CHECK(told.back().failures == 0);
    CHECK(report.clean());
}
