// The controls: a load generator that has not been seen to notice a failure proves nothing.

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <string>

import load;
import ringfort;

#include "small_load.hpp"

using bench::clients;
using bench::Fault;
using bench::FaultyServer;
using bench::load_on;
using bench::outcome_of;
using bench::small_load;
using load::Failures;
using load::Mode;
using load::Options;
using load::Report;
using std::chrono::milliseconds;

namespace {

/// The report blames exactly `count` connections, all on the counter in question.
void check_blamed(const Report& report, std::uint64_t Failures::* counter, std::uint64_t count) {
    INFO("it says: " << load::describe(report));
    CHECK(report.failures.*counter == count);
    CHECK(report.failures.total() == count);
    CHECK_FALSE(report.clean());
}

}  // namespace

TEST_CASE("control: a faultless server is found faultless") {
    const Report report = load_on(Fault::none);
    INFO("it says: " << load::describe(report));
    CHECK(report.clean());
    CHECK(report.requests > 0);
    CHECK(report.latency.count() == report.requests);
    CHECK(report.seconds >= 0.15);
}

TEST_CASE("control: one wrong bit in one answer is noticed") {
    const Report report = load_on(Fault::corrupt);
    check_blamed(report, &Failures::mismatched, 1);
    CHECK(report.lost == 1);
}

TEST_CASE("control: a connection closed instead of answered is noticed") {
    const Report report = load_on(Fault::close_early);
    check_blamed(report, &Failures::early_eof, 1);
    CHECK(report.lost == 1);
}

TEST_CASE("control: a reset is noticed") {
    check_blamed(load_on(Fault::reset), &Failures::reset, 1);
}

TEST_CASE("control: an answer that never comes is noticed") {
    const Report report = load_on(Fault::drop);
    check_blamed(report, &Failures::timed_out, 1);
    CHECK(report.lost == 1);
}

TEST_CASE("control: a dropped answer in a pipeline is noticed by its successor") {
    const FaultyServer server(Fault::drop, 3);
    Options options = small_load(server);
    options.connections = 1;
    options.depth = 64;
    options.payload_bytes = 4096;  // the pipeline is larger than what the server reads at once
    const Report report = outcome_of(options);
    check_blamed(report, &Failures::mismatched, 1);
    CHECK(report.lost > 0);
}

TEST_CASE("control: an answer sent twice is noticed") {
    const Report report = load_on(Fault::repeat);
    INFO("it says: " << load::describe(report));
    CHECK(report.failures.total() == 1);
    CHECK(report.failures.mismatched + report.failures.excess == 1);
    CHECK_FALSE(report.clean());
}

TEST_CASE("control: two answers that change places are both noticed") {
    check_blamed(load_on(Fault::swap), &Failures::mismatched, 2);
}

TEST_CASE("control: a server that stalls is noticed on every connection") {
    const Report report = load_on(Fault::stall);
    check_blamed(report, &Failures::timed_out, clients);
    CHECK(report.lost == clients);
}

TEST_CASE("control: every refused connection is counted") {
    const Report report = load_on(Fault::refuse);
    check_blamed(report, &Failures::refused, clients);
    CHECK(report.requests == 0);
}

TEST_CASE("control: a byte too many at the very end is noticed") {
    check_blamed(load_on(Fault::last_word), &Failures::excess, clients);
}

TEST_CASE("control: a server that does not close after the client has is noticed") {
    check_blamed(load_on(Fault::stay_open), &Failures::timed_out, clients);
}

TEST_CASE("the window's ends are announced once, in order, and bracket the counted requests") {
    const FaultyServer server(Fault::none);
    Options options = small_load(server);
    std::string calls;
    options.window_begins = [&] { calls += "begin "; };
    options.window_ends = [&] { calls += "end"; };
    CHECK(outcome_of(options).clean());
    CHECK(calls == "begin end");
}

TEST_CASE("an interrupted run ends early and is not clean") {
    const FaultyServer server(Fault::none);
    Options options = small_load(server);
    options.duration = milliseconds(60'000);
    options.interrupted = [] { return true; };
    const Report report = outcome_of(options);
    CHECK(report.interrupted);
    CHECK(report.seconds < 30);
    CHECK_FALSE(report.clean());
}

TEST_CASE("the report is one line of JSON that names every failure") {
    const Report report = load_on(Fault::refuse);
    const std::string json = load::to_json(Options{}, report);
    CHECK(json.find('\n') == std::string::npos);
    CHECK(json.find("\"refused\":4") != std::string::npos);
    CHECK(json.find("\"clean\":false") != std::string::npos);
    CHECK(load::describe(report) == "4 refused");
}
