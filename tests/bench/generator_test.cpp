// The controls: a load generator that has not been seen to notice a failure proves nothing.
#include "generator.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "faulty_server.hpp"

using bench::Failures;
using bench::Fault;
using bench::FaultyServer;
using bench::LoadOptions;
using bench::LoadReport;
using std::chrono::milliseconds;

namespace {

constexpr std::uint32_t clients = 4;

LoadOptions small_load(const FaultyServer& server) {
    LoadOptions load;
    load.port = server.port();
    load.connections = clients;
    load.warmup = milliseconds(20);
    load.duration = milliseconds(150);
    return load;
}

LoadReport load_on(Fault fault) {
    const FaultyServer server(fault);
    LoadOptions load = small_load(server);
    // Long enough for a busy machine, short enough for the faults that only time brings to light.
    load.timeout = milliseconds(1500);
    return run_load(load);
}

/// The report blames exactly `count` connections, all on the counter in question.
void check_blamed(const LoadReport& report, std::uint64_t Failures::* counter,
                  std::uint64_t count) {
    INFO("it says: " << describe(report));
    CHECK(report.failures.*counter == count);
    CHECK(report.failures.total() == count);
    CHECK_FALSE(report.clean());
}

int exit_status_of_load(std::uint16_t port) {
    const std::string command =
        fmt::format("{} --port {} --connections 4 --warmup-ms 20 >/dev/null", BENCH_LOAD, port);
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("control: a faultless server is found faultless") {
    const LoadReport report = load_on(Fault::none);
    INFO("it says: " << describe(report));
    CHECK(report.clean());
    CHECK(report.requests > 0);
    CHECK(report.latency.count() == report.requests);
    CHECK(report.seconds >= 0.15);
}

TEST_CASE("control: one wrong bit in one answer is noticed") {
    const LoadReport report = load_on(Fault::corrupt);
    check_blamed(report, &Failures::mismatched, 1);
    CHECK(report.lost == 1);
}

TEST_CASE("control: a connection closed instead of answered is noticed") {
    const LoadReport report = load_on(Fault::close_early);
    check_blamed(report, &Failures::early_eof, 1);
    CHECK(report.lost == 1);
}

TEST_CASE("control: a reset is noticed") {
    check_blamed(load_on(Fault::reset), &Failures::reset, 1);
}

TEST_CASE("control: an answer that never comes is noticed") {
    const LoadReport report = load_on(Fault::drop);
    check_blamed(report, &Failures::timed_out, 1);
    CHECK(report.lost == 1);
}

TEST_CASE("control: a dropped answer in a pipeline is noticed by its successor") {
    const FaultyServer server(Fault::drop, 3);
    LoadOptions load = small_load(server);
    load.connections = 1;
    load.depth = 64;
    load.payload_bytes = 4096;  // the pipeline is larger than what the server reads at once
    const LoadReport report = run_load(load);
    check_blamed(report, &Failures::mismatched, 1);
    CHECK(report.lost > 0);
}

TEST_CASE("control: an answer sent twice is noticed") {
    const LoadReport report = load_on(Fault::repeat);
    INFO("it says: " << describe(report));
    CHECK(report.failures.total() == 1);
    CHECK(report.failures.mismatched + report.failures.excess == 1);
    CHECK_FALSE(report.clean());
}

TEST_CASE("control: two answers that change places are both noticed") {
    check_blamed(load_on(Fault::swap), &Failures::mismatched, 2);
}

TEST_CASE("control: a server that stalls is noticed on every connection") {
    const LoadReport report = load_on(Fault::stall);
    check_blamed(report, &Failures::timed_out, clients);
    CHECK(report.lost == clients);
}

TEST_CASE("control: every refused connection is counted") {
    const LoadReport report = load_on(Fault::refuse);
    check_blamed(report, &Failures::refused, clients);
    CHECK(report.requests == 0);
}

TEST_CASE("control: a byte too many at the very end is noticed") {
    check_blamed(load_on(Fault::last_word), &Failures::excess, clients);
}

TEST_CASE("control: a server that does not close after the client has is noticed") {
    check_blamed(load_on(Fault::stay_open), &Failures::timed_out, clients);
}

TEST_CASE("control: the load program's exit status tells clean from faulty from wrong usage") {
    CHECK(exit_status_of_load(FaultyServer(Fault::none).port()) == 0);
    CHECK(exit_status_of_load(FaultyServer(Fault::corrupt).port()) == 1);
    CHECK(exit_status_of_load(FaultyServer(Fault::refuse).port()) == 1);
    CHECK(std::system(BENCH_LOAD " 2>/dev/null") == 2 << 8);
}

TEST_CASE("the window's ends are announced once, in order, and bracket the counted requests") {
    const FaultyServer server(Fault::none);
    LoadOptions load = small_load(server);
    std::string calls;
    load.window_begins = [&] { calls += "begin "; };
    load.window_ends = [&] { calls += "end"; };
    CHECK(run_load(load).clean());
    CHECK(calls == "begin end");
}

TEST_CASE("an interrupted run ends early and is not clean") {
    const FaultyServer server(Fault::none);
    LoadOptions load = small_load(server);
    load.duration = milliseconds(60'000);
    load.interrupted = [] { return true; };
    const LoadReport report = run_load(load);
    CHECK(report.interrupted);
    CHECK(report.seconds < 30);
    CHECK_FALSE(report.clean());
}

TEST_CASE("the report is one line of JSON that names every failure") {
    const LoadReport report = load_on(Fault::refuse);
    const std::string json = to_json(LoadOptions{}, report);
    CHECK(json.find('\n') == std::string::npos);
    CHECK(json.find("\"refused\":4") != std::string::npos);
    CHECK(json.find("\"clean\":false") != std::string::npos);
    CHECK(describe(report) == "4 refused");
}
