// A cell as the matrix runs it, with servers that serve and servers that do not.
#include "cell.hpp"

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <filesystem>
#include <string>

#include "bars.hpp"
#include "results.hpp"

using bench::CellResult;
using bench::CellSpec;
using bench::Kind;
using bench::Launch;
using bench::Series;
using bench::Slice;
using bench::Verdict;
using bench::Work;

namespace {

Launch launch(const std::string& name, const std::vector<std::string>& command) {
    return {.name = name,
            .command = command,
            .log_file = "bench-cell-test-" + std::to_string(::getpid()) + "-" + name + ".log",
            .port_follows = "listening ",
            .ready_word = "",
            .core = -1};
}

CellResult run(const CellSpec& spec, const std::vector<Launch>& servers) {
    bench::CellOptions options;
    options.pairs = 2;
    options.slice = std::chrono::milliseconds(100);
    options.cores = bench::pick_cores();
    options.interrupted = [] { return false; };
    CellResult result = bench::run_cell(spec, options, servers);
    for (const Launch& server : servers) std::filesystem::remove(server.log_file);
    return result;
}

/// A series with one slice for each given CPU time in microseconds, of one request each.
Series series_of(const std::string& name, const std::vector<std::uint64_t>& costs_us) {
    Series series{name, 1};
    for (const std::uint64_t cost : costs_us) {
        Slice slice;
        slice.seconds = 1;
        slice.requests = 1;
        slice.cpu.total_ns = cost * 1000;
        series.slices.push_back(slice);
    }
    return series;
}

}  // namespace

TEST_CASE("every work of a cell gives each server its slices") {
    for (const Work work : {Work::round_trips, Work::churn, Work::bulk, Work::idle}) {
        const CellResult cell =
            run({Kind::echo, work, 4, 64, 1},
                {launch("one", {BENCH_EPOLL_ECHO, "0"}), launch("two", {BENCH_EPOLL_ECHO, "0"})});
        REQUIRE(cell.series.size() == 2);
        for (const Series& series : cell.series) {
            INFO(cell.spec.name() << ", " << series.server << ": " << series.failure);
            CHECK(series.failure.empty());
            CHECK(series.slices.size() == 2);
        }
        const std::string table = bench::to_table(cell, bench::pick_cores());
        CHECK(table.find("| two ") != table.npos);
        CHECK(bench::to_json({cell}).find("\"server\":\"one\"") != std::string::npos);
        CHECK(bench::to_chart(cell).starts_with("<svg "));
    }
}

TEST_CASE("a server that refuses or cannot start is left out and named as failed") {
    // Nobody listens on port 1 of the loopback.
    const CellResult cell =
        run({Kind::echo, Work::round_trips, 2, 64, 1},
            {launch("good", {BENCH_EPOLL_ECHO, "0"}),
             launch("refuses", {"/bin/sh", "-c", "echo listening 1; exec sleep 60"}),
             launch("dies", {"/bin/sh", "-c", "exit 3"})});
    CHECK(cell.find("good") != nullptr);
    CHECK(cell.find("refuses") == nullptr);
    CHECK(cell.series[1].failure == "2 refused");
    CHECK(cell.series[2].failure.find("ended instead of serving") != std::string::npos);
    CHECK(bench::to_table(cell, bench::pick_cores()).find("FAILED: refuses") != std::string::npos);
}

TEST_CASE("a ratio is taken pair by pair") {
    CellResult cell{{Kind::echo, Work::round_trips, 50, 64, 1},
                    {series_of("ringfort", {10, 30, 90}), series_of("epoll", {20, 20, 100})}};
    const bench::Ratio ratio = bench::ratio_of(cell, cell.series[0], cell.series[1]);
    CHECK(ratio.spread.median == 0.9);
    CHECK(ratio.spread.least == 0.5);
    CHECK(ratio.spread.most == 1.5);
    CHECK(ratio.below == 2);
    CHECK(ratio.pairs == 3);
}

TEST_CASE("a bar is met, missed or not measured, and compares with the best of the peers") {
    const std::vector<CellResult> cells{
        {{Kind::echo, Work::round_trips, 50, 64, 1},
         {series_of("ringfort", {95}), series_of("uring", {100}), series_of("epoll", {100})}},
        {{Kind::echo, Work::round_trips, 50, 4096, 1},
         {series_of("ringfort", {106}), series_of("uring", {100}), series_of("epoll", {200})}}};
    const auto verdicts = bench::judge(cells, {{"call", 9.5}});
    const auto outcome = [&](const std::string& beginning) {
        for (const Verdict& verdict : verdicts)
            if (verdict.bar.starts_with(beginning)) return verdict.outcome;
        FAIL("there is no bar " << beginning);
        return Verdict::Outcome::not_measured;
    };
    CHECK(outcome("echo-c50-p64-d1: ours / hand-written io_uring") == Verdict::Outcome::met);
    CHECK(outcome("echo-c50-p64-d1: ours / epoll") == Verdict::Outcome::missed);
    CHECK(outcome("echo-c50-p4096-d1: ours / best peer") == Verdict::Outcome::missed);
    CHECK(outcome("echo-c1-p4096-d1") == Verdict::Outcome::not_measured);
    CHECK(outcome("task call") == Verdict::Outcome::met);
    CHECK(outcome("task spawn") == Verdict::Outcome::not_measured);
}
