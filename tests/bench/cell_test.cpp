// A cell as the matrix runs it, with servers that serve and servers that do not.
#include "cell.hpp"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "accepts.hpp"
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

std::string log_of(const std::string& name) {
    return "bench-cell-test-" + std::to_string(::getpid()) + "-" + name + ".log";
}

Launch launch(const std::string& name, const std::vector<std::string>& command) {
    return {.name = name,
            .command = command,
            .log_file = log_of(name),
            .port_follows = "listening ",
            .ready_word = "",
            .core = -1};
}

bench::CellOptions short_run() {
    bench::CellOptions options;
    options.pairs = 2;
    options.slice = std::chrono::milliseconds(100);
    options.cores = bench::pick_cores();
    options.interrupted = [] { return false; };
    return options;
}

CellResult run(const CellSpec& spec, const std::vector<Launch>& servers) {
    CellResult result = bench::run_cell(spec, short_run(), servers);
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

Series repeated(const std::string& name, std::uint64_t cost_us, std::size_t times) {
    return series_of(name, std::vector(times, cost_us));
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

TEST_CASE("each slice has a server that was started for it") {
    const std::string starts = log_of("starts");
    const std::string command = "echo x >>" + starts + "; exec " BENCH_EPOLL_ECHO " 0";
    const CellResult cell = run({Kind::echo, Work::round_trips, 1, 64, 1},
                                {launch("noted", {"/bin/sh", "-c", command})});
    CHECK(cell.series.front().slices.size() == 2);
    CHECK(std::filesystem::file_size(starts) == 2 * std::string_view{"x\n"}.size());
    std::filesystem::remove(starts);
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

TEST_CASE("a server that dies under load is left out and named as failed, and the others go on") {
    const std::string dying = "\"$0\" 0 & sleep 0.25; kill -9 $!; exec sleep 60";
    const CellResult cell = run({Kind::echo, Work::round_trips, 2, 64, 1},
                                {launch("dies", {"/bin/sh", "-c", dying, BENCH_EPOLL_ECHO}),
                                 launch("good", {BENCH_EPOLL_ECHO, "0"})});
    CHECK(cell.find("dies") == nullptr);
    CHECK_FALSE(cell.series[0].failure.empty());
    REQUIRE(cell.find("good") != nullptr);
    CHECK(cell.find("good")->slices.size() == 2);
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

TEST_CASE("the order of a cell's servers favours none of them") {
    for (const std::size_t count : {1U, 2U, 3U, 5U}) {
        std::map<std::pair<std::size_t, std::size_t>, int> at_place;
        std::map<std::pair<std::size_t, std::size_t>, int> followed_by;
        for (std::size_t round = 0; round < 2 * count; ++round) {
            const auto order = bench::order_of(round, count);
            REQUIRE(order.size() == count);
            for (std::size_t place = 0; place < count; ++place) {
                ++at_place[{order[place], place}];
                if (place > 0) ++followed_by[{order[place - 1], order[place]}];
            }
        }
        CHECK(at_place.size() == count * count);
        for (const auto& [who, times] : at_place) CHECK(times == 2);
        for (const auto& [who, times] : followed_by)
            CHECK(times == followed_by[{who.second, who.first}]);
    }
}

TEST_CASE("the echo behind a relay is told apart from other programs") {
    const bench::Contestant upstream(launch("upstream", {BENCH_EPOLL_ECHO, "0"}));
    bench::CellOptions options = short_run();
    options.upstream = &upstream;
    const auto upstream_seconds = [&] {
        const auto cell = bench::run_cell(
            {Kind::relay, Work::round_trips, 4, 64, 1}, options,
            {launch("relay", {BENCH_EPOLL_RELAY, "0", std::to_string(upstream.port())})});
        REQUIRE(cell.series.front().failure.empty());
        double sum = 0;
        for (const Slice& slice : cell.series.front().slices) sum += slice.upstream_s;
        return sum;
    };
    options.cores.upstream = options.cores.load;
    CHECK(upstream_seconds() > 0);
    options.cores.upstream = options.cores.load + options.cores.server + 1;
    CHECK(upstream_seconds() == 0);
    for (const char* name : {"upstream", "relay"}) std::filesystem::remove(log_of(name));
}

TEST_CASE("a relay's cell is disturbed by others, and what is lost in rounding disturbs none") {
    CellResult cell{{Kind::relay, Work::round_trips, 50, 64, 1}, {series_of("ringfort", {10, 10})}};
    const bench::Cores cores{0, 1, 1};
    auto& slices = cell.series.front().slices;
    slices[0].others_s = 0.4;
    CHECK(bench::to_table(cell, cores).find("DISTURBED: other") != std::string::npos);
    slices[1].others_s = -0.4;
    CHECK(bench::to_table(cell, cores).find("Other programs and the hypervisor took 0.0 %") !=
          std::string::npos);
    slices[1].others_s = -0.6;
    CHECK(bench::to_table(cell, cores).find("took 0.0 %") != std::string::npos);
}

TEST_CASE("a bar needs 20 pairs and all its peers to be met") {
    const auto cells = [](std::size_t pairs, bool with_uring) {
        CellResult asio{
            {Kind::echo, Work::round_trips, 50, 64, 1},
            {repeated("ringfort", 80, pairs), repeated("asio-epoll-coroutines", 100, pairs)}};
        if (with_uring) asio.series.push_back(repeated("asio-uring-coroutines", 110, pairs));
        return std::vector<CellResult>{asio};
    };
    const auto find = [](const std::vector<Verdict>& verdicts) {
        for (const Verdict& verdict : verdicts)
            if (verdict.bar == "echo-c50-p64-d1: ours / best Asio coroutines") return verdict;
        FAIL("there is no such bar");
        return Verdict{};
    };
    CHECK(find(bench::judge(cells(20, true), {})).outcome == Verdict::Outcome::met);
    const Verdict few = find(bench::judge(cells(19, true), {}));
    CHECK(few.outcome == Verdict::Outcome::not_measured);
    CHECK(few.remark.find("19 pairs") != few.remark.npos);
    const Verdict alone = find(bench::judge(cells(20, false), {}));
    CHECK(alone.outcome == Verdict::Outcome::not_measured);
    CHECK(alone.remark.find("missing: asio-uring-coroutines") != alone.remark.npos);
}

TEST_CASE("every cell of the bars is judged, and every bar has its cell or figure") {
    std::vector<CellResult> cells;
    for (const CellSpec& spec : bench::bar_cells()) cells.push_back({spec, {}});
    const auto verdicts = bench::judge(cells, {});
    for (const CellSpec& spec : bench::bar_cells()) {
        INFO(spec.name());
        CHECK(std::any_of(verdicts.begin(), verdicts.end(), [&](const Verdict& verdict) {
            return verdict.bar.starts_with(spec.name());
        }));
    }
    for (const char* name : {"accept skew, churn", "accept skew, held", "task call",
                             "longest wait with a worker stopped"})
        CHECK(std::any_of(verdicts.begin(), verdicts.end(),
                          [&](const Verdict& verdict) { return verdict.bar.starts_with(name); }));
}

TEST_CASE("a skew is what the busiest has over the mean") {
    CHECK(bench::skew_of({10, 10, 10, 10}) == 1);
    CHECK(bench::skew_of({40, 0, 0, 0}) == 4);
    CHECK(bench::skew_of({0, 0}) == 1);
}

TEST_CASE("a bar is met, missed or not measured, and compares with the best of the peers") {
    const std::vector<CellResult> cells{
        {{Kind::echo, Work::round_trips, 50, 64, 1},
         {repeated("ringfort", 95, 20), repeated("uring", 100, 20), repeated("epoll", 100, 20)}},
        {{Kind::echo, Work::round_trips, 50, 4096, 1},
         {repeated("ringfort", 106, 20), repeated("uring", 100, 20), repeated("epoll", 200, 20)}}};
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
