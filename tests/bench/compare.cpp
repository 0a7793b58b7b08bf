// compare: the matrix. Every contestant that is there, in one run, slice by slice in turn.
// Exit status: 0 measured, 1 a server failed or it was interrupted, 2 wrong usage or set-up.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "accepts.hpp"
#include "bars.hpp"
#include "calls.hpp"
#include "cell.hpp"
#include "matrix.hpp"
#include "results.hpp"
#include "roster.hpp"
#include "surroundings.hpp"

import load;
import ringfort;

namespace {

struct Arguments {
    std::string build;
    std::string directory;                 // gets the configurations and the logs
    std::vector<std::string> cells;        // patterns
    std::vector<std::string> contestants;  // patterns
    std::uint32_t pairs = 10;
    double seconds = 0.5;
    std::string json;
    std::string plots;
    bool quick = false;
    bool bars = false;
    bool accepts = false;
    bool control = false;
    bool list = false;
};

/// What a run does, settled from the arguments.
struct Plan {
    enum class Purpose : std::uint8_t { figures, bars };
    Purpose purpose = Purpose::figures;
    std::vector<bench::CellSpec> cells = {};
    std::vector<bench::Entry> entries = {};
    bench::Site site = {};
    bench::CellOptions options = {};
};

void declare(CLI::App& app, Arguments& arguments) {
    app.add_option("--build", arguments.build, "the build directory")
        ->required()
        ->check(CLI::ExistingDirectory);
    app.add_option("--directory", arguments.directory, "gets the configurations and the logs")
        ->required()
        ->check(CLI::ExistingDirectory);
    app.add_option("--cells", arguments.cells, "only these, as \"echo-c50-*,relay-bulk-*\"")
        ->delimiter(',');
    app.add_option("--contestants", arguments.contestants,
                   "only these and ours, as \"epoll,asio-*\"")
        ->delimiter(',');
    app.add_option("--pairs", arguments.pairs, "slices of each server in a cell")
        ->check(CLI::Range(1U, 1000U));
    app.add_option("--seconds", arguments.seconds, "length of a slice")
        ->check(CLI::Range(0.1, 3600.0));
    app.add_option("--json", arguments.json, "write every slice to this file");
    app.add_option("--plot", arguments.plots, "write a bar chart of each cell to this directory");
    app.add_flag("--quick", arguments.quick, "the short list of cells and contestants, 6 pairs");
    app.add_flag("--bars", arguments.bars, "the cells that the bars need, 20 pairs, and verdicts");
    app.add_flag("--accepts", arguments.accepts,
                 "how our workers share connections, instead of cells");
    app.add_flag("--control", arguments.control,
                 "the yardstick beside itself: how far from 1 a ratio is by chance");
    app.add_flag("--list", arguments.list, "name cells and contestants and do nothing");
}

std::vector<bench::CellSpec> choose_cells(const Arguments& arguments) {
    std::vector<bench::CellSpec> cells = arguments.bars      ? bench::bar_cells()
                                         : arguments.quick   ? bench::quick_cells()
                                         : arguments.control ? bench::quick_cells()
                                                             : bench::all_cells();
    std::erase_if(cells, [&](const bench::CellSpec& cell) {
        return !bench::selected(arguments.cells, cell.name()) ||
               (arguments.control && cell.kind == bench::Kind::relay && arguments.cells.empty());
    });
    if (cells.empty()) throw std::invalid_argument("no cell has such a name; --list names them");
    return cells;
}

std::vector<bench::Entry> choose_contestants(const Arguments& arguments, const bench::Site& site) {
    std::vector<bench::Entry> entries =
        arguments.control ? bench::control_roster(site) : bench::roster(site);
    std::vector<std::string> wanted = arguments.contestants;
    if (arguments.quick && wanted.empty()) wanted = {"uring", "epoll", "splice"};
    std::erase_if(entries, [&](const bench::Entry& entry) {
        return entry.name != "ringfort" && !bench::selected(wanted, entry.name);
    });
    return entries;
}

/// Asio coroutines and nginx have bars at 64 bytes only, the others wherever a best peer counts.
bool needed_for_bars(const bench::CellSpec& cell, const bench::Entry& entry) {
    const auto is = [&](std::initializer_list<const char*> names) {
        return std::any_of(names.begin(), names.end(),
                           [&](const char* name) { return entry.name == name; });
    };
    if (is({"ringfort"})) return true;
    switch (cell.work) {
        case bench::Work::round_trips:
            if (cell.kind == bench::Kind::relay) return !is({"haproxy", "haproxy-splice"});
            return cell.payload_bytes > 64 ||
                   is({"uring", "epoll", "asio-epoll-coroutines", "asio-uring-coroutines"});
        case bench::Work::churn:
            return is({"uring", "epoll"});
        case bench::Work::bulk:
            return is({"uring", "splice"});
        case bench::Work::idle:
        case bench::Work::calls:
            return is({"uring"});
    }
    return false;
}

bool takes_part(const Plan& plan, const bench::CellSpec& cell, const bench::Entry& entry) {
    return entry.kind == cell.kind && !entry.command.empty() &&
           (plan.purpose == Plan::Purpose::figures || needed_for_bars(cell, entry));
}

/// Tells how long the cells will take, roughly.
double minutes_of(const Plan& plan) {
    double seconds = 0;
    for (const bench::CellSpec& cell : plan.cells) {
        const auto servers =
            std::count_if(plan.entries.begin(), plan.entries.end(),
                          [&](const bench::Entry& entry) { return takes_part(plan, cell, entry); });
        seconds += static_cast<double>(servers) * bench::seconds_of(cell, plan.options);
    }
    return std::ceil(seconds / 60);
}

void list(const std::vector<bench::CellSpec>& cells, const std::vector<bench::Entry>& entries) {
    for (const bench::CellSpec& cell : cells)
        fmt::print("cell {:<24} {}\n", cell.name(), cell.title());
    for (const bench::Entry& entry : entries) {
        fmt::print("{} {:<24} {}\n", entry.kind == bench::Kind::echo ? "echo " : "relay",
                   entry.name, entry.command.empty() ? "(not built or not installed)" : "");
    }
}

void name_absent(const Plan& plan) {
    std::string absent;
    for (const bench::Entry& entry : plan.entries) {
        if (!entry.command.empty()) continue;
        absent += fmt::format("{}{} ({})", absent.empty() ? "" : ", ", entry.name,
                              entry.kind == bench::Kind::echo ? "echo" : "relay");
    }
    if (!absent.empty()) fmt::print("left out: {}: not built or not installed\n", absent);
}

bench::CellResult run_one(const Plan& plan, const bench::CellSpec& cell) {
    std::optional<bench::Contestant> upstream;
    bench::Site site = plan.site;
    bench::CellOptions options = plan.options;
    if (cell.kind == bench::Kind::relay) {
        upstream.emplace(bench::upstream_launch(site));
        site.upstream_port = upstream->port();
        options.upstream = &*upstream;
    }
    std::vector<bench::Launch> launches;
    for (const bench::Entry& entry : plan.entries)
        if (takes_part(plan, cell, entry)) launches.push_back(*bench::launch_of(entry, site));
    return bench::run_cell(cell, options, launches);
}

void write_file(const std::string& path, const std::string& text) {
    std::ofstream file(path);
    file << text;
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path);
}

void show(const bench::CellResult& result, const Plan& plan, const Arguments& arguments) {
    fmt::print("{}", bench::to_table(result, plan.options.cores));
    std::fflush(stdout);
    const std::string chart = arguments.plots.empty() ? "" : bench::to_chart(result);
    if (!chart.empty())
        write_file(fmt::format("{}/{}.svg", arguments.plots, result.spec.name()), chart);
}

/// Measures how our echo accepts with four workers; returns whether that was possible.
bool show_accepts(const Plan& plan, bench::Figures& figures) {
    bench::Site site = plan.site;
    site.workers = 4;
    const auto ours =
        std::find_if(plan.entries.begin(), plan.entries.end(), [](const bench::Entry& entry) {
            return entry.form == bench::Entry::Form::ours && entry.kind == bench::Kind::echo;
        });
    try {
        const auto launch =
            ours != plan.entries.end() ? bench::launch_of(*ours, site) : std::nullopt;
        if (!launch) throw std::runtime_error("our echo is not built");
        const bench::Accepts accepts = bench::measure_accepts(*launch, plan.options.interrupted);
        fmt::print("{}", bench::to_table(accepts));
        bench::add_figures(accepts, figures);
        return true;
    } catch (const std::runtime_error& error) {
        if (load::interrupted()) throw;
        fmt::print("FAILED: accepts: {}\n", error.what());
        return false;
    }
}

/// Runs every cell; returns whether no server failed.
bool compare(const Plan& plan, const Arguments& arguments) {
    std::vector<bench::CellResult> results;
    bool clean = true;
    for (const bench::CellSpec& cell : plan.cells) {
        results.push_back(run_one(plan, cell));
        show(results.back(), plan, arguments);
        for (const bench::Series& series : results.back().series)
            clean = clean && series.failure.empty();
        if (!arguments.json.empty()) write_file(arguments.json, bench::to_json(results));
    }
    bench::Figures figures;
    if (arguments.bars || arguments.accepts) clean = show_accepts(plan, figures) && clean;
    if (arguments.bars) {
        figures.merge(bench::run_micro(plan.site.build + "/tests/bench/bench_coro"));
        fmt::print("{}", bench::to_table(bench::judge(results, figures)));
    }
    return clean;
}

Plan make_plan(const Arguments& arguments) {
    Plan plan{.purpose = arguments.bars ? Plan::Purpose::bars : Plan::Purpose::figures};
    if (!arguments.accepts) plan.cells = choose_cells(arguments);
    plan.site.build = arguments.build;
    plan.site.directory = std::filesystem::absolute(arguments.directory).string();
    plan.site.cores = plan.options.cores = bench::pick_cores();
    plan.entries = choose_contestants(arguments, plan.site);
    plan.options.pairs = arguments.pairs;
    plan.options.slice = std::chrono::milliseconds(static_cast<int>(arguments.seconds * 1000));
    plan.options.interrupted = load::interrupted;
    return plan;
}

/// Decides what carries the requests of ours and of the load, whatever the environment says.
std::string settle_driver() {
    ::unsetenv("RINGFORT_DRIVER");
    ::unsetenv("RINGFORT_KERNEL");
    const auto loop = ringfort::uring::Loop::open({});
    if (!loop) throw std::runtime_error("the load cannot run: " + loop.error().text());
    return (*loop)->backend() == ringfort::uring::Backend::epoll ? "epoll" : "io_uring";
}

void prepare(Plan& plan) {
    fmt::print("network:  {}\n", bench::enter_own_network());
    const bench::Cores& cores = plan.site.cores;
    if (cores.server == cores.load)
        fmt::print("cores:    only one: server and load share it, so the figures say little\n");
    else
        fmt::print("cores:    servers on {}, load on {}, the echo behind relays on {}\n",
                   cores.server, cores.load, cores.upstream);
    const std::string refusal = bench::find_tracepoints();
    if (!refusal.empty()) {
        fmt::print("left out: counting system calls: {}\n", refusal);
        std::erase_if(plan.cells,
                      [](const bench::CellSpec& cell) { return cell.work == bench::Work::calls; });
    }
    name_absent(plan);
    plan.site.driver = settle_driver();
    fmt::print("driver:   {} carries ringfort and the load{}\n", plan.site.driver,
               plan.site.driver == "io_uring" ? "" : ", because io_uring is refused here");
    fmt::print("time:     about {:.0f} minutes\n", minutes_of(plan));
    std::fflush(stdout);
    bench::pin_to(cores.load);
    (void)load::raise_fd_limit();  // the servers inherit it
}

}  // namespace

int main(int argc, char** argv) try {
    Arguments arguments;
    CLI::App app("Every echo and relay that is there, in one run, in turn.", "compare");
    declare(app, arguments);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    if (app.count("--pairs") == 0 && arguments.bars) arguments.pairs = 20;
    if (app.count("--pairs") == 0 && arguments.quick) arguments.pairs = 6;
    Plan plan = make_plan(arguments);
    if (arguments.list) {
        list(plan.cells, plan.entries);
        return 0;
    }
    if (!arguments.plots.empty()) std::filesystem::create_directories(arguments.plots);
    load::watch_for_interrupts();
    prepare(plan);
    return compare(plan, arguments) ? 0 : 1;
} catch (const std::invalid_argument& error) {
    fmt::print(stderr, "bench: {}\n", error.what());
    return 2;
} catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
}
