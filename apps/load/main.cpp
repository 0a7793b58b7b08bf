// load: puts load on a server that returns every byte, and says what came of it.
// Exit status: 0 every byte came back, 1 something was lost or wrong, 2 wrong usage or set-up.
#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

import load;
import ringfort;

namespace {

namespace rf = ringfort;
constexpr int unclean = 1;
constexpr int unusable = 2;

struct Arguments {
    std::string target;
    std::string mode = "echo";
    load::Options load;
    double seconds = 10;
    double warmup_s = 0.2;
    double timeout_s = 5;
    std::vector<pid_t> measured;
    std::string plot;
    bool json = false;
};

rf::Milliseconds milliseconds(double seconds) {
    return rf::Milliseconds{static_cast<std::int64_t>(seconds * 1e3)};
}

void declare(CLI::App& app, Arguments& arguments) {
    load::Options& load = arguments.load;
    app.add_option("TARGET", arguments.target, "HOST:PORT, [IPv6]:PORT or unix:PATH")->required();
    app.add_option("--mode", arguments.mode,
                   "echo: requests and answers (what it does without --mode);\n"
                   "churn: connect, one request, close, over and over;\n"
                   "bulk: as many bytes as go through; idle: one request, then hold")
        ->check(CLI::IsMember({"echo", "churn", "bulk", "idle"}))
        ->type_name("MODE");
    app.add_option("--connections", load.connections, "at the same time")
        ->check(CLI::Range(1U, load::max_connections))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--payload", load.payload_bytes, "bytes of one request")
        ->check(CLI::Range(std::size_t{1}, load::max_payload_bytes))
        ->type_name("BYTES")
        ->capture_default_str();
    app.add_option("--depth", load.depth, "requests in flight on one connection")
        ->check(CLI::Range(1U, load::max_depth))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--rate", load.rate_per_s,
                   "requests per second of all connections together, whether or not answers\n"
                   "come; latency then counts from when a request was due (0: no fixed rate)")
        ->check(CLI::Range(0.0, 1e8))
        ->type_name("PER_SECOND");
    app.add_option("--seconds", arguments.seconds, "length of the counted window")
        ->check(CLI::Range(0.05, 1e6))
        ->type_name("S")
        ->capture_default_str();
    app.add_option("--warmup", arguments.warmup_s, "seconds of load before it")
        ->check(CLI::Range(0.0, 1e6))
        ->type_name("S")
        ->capture_default_str();
    app.add_option("--timeout", arguments.timeout_s,
                   "seconds for a connect, for an answer and for the final close")
        ->check(CLI::Range(0.001, 1e6))
        ->type_name("S")
        ->capture_default_str();
    app.add_option("--measure", arguments.measured,
                   "processes whose CPU time and memory are reported")
        ->type_name("PID ...");
    app.add_flag("--json", arguments.json, "print one line of JSON instead of a table");
    app.add_option("--plot", arguments.plot, "write latency and throughput as SVG")
        ->type_name("FILE");
}

load::Mode mode_of(const std::string& name) {
    for (const auto mode : {load::Mode::churn, load::Mode::bulk, load::Mode::idle})
        if (load::name_of(mode) == name) return mode;
    return load::Mode::echo;
}

/// Returns what does not fit together; empty when everything does.
std::string objection(const load::Options& load) {
    const bool single = load.mode == load::Mode::churn || load.mode == load::Mode::idle;
    if (load.mode != load::Mode::echo && (load.depth != 1 || load.rate_per_s > 0))
        return "--depth and --rate go with --mode echo only";
    if (single && load.payload_bytes > load::max_single_payload_bytes)
        return fmt::format("--mode churn and idle send at most {} bytes",
                           load::max_single_payload_bytes);
    return {};
}

void show(const load::Progress& progress) {
    fmt::print(stderr, "\r{:6.1f} s  {:>12} answered  {:>6} connections  {:>4} failures ",
               progress.seconds, progress.answered, progress.connections, progress.failures);
}

/// Has clocks and memory read around the window. `failed` is set when a process is gone.
void measure(load::Options& options, const load::Measured& processes,
             load::Measurement& measurement, bool& failed) {
    const auto read = [&processes, &failed](load::Usage& into, load::Measured::What what) {
        const auto usage = processes.read(what);
        if (usage)
            into = *usage;
        else
            failed = true;
    };
    constexpr auto everything = load::Measured::What::cpu_and_memory;
    options.before_connecting = [&, read] {
        read(measurement.before, everything);
        measurement.kernel_before = load::kernel_memory();
    };
    options.window_begins = [&, read] { read(measurement.begin, load::Measured::What::cpu); };
    options.window_ends = [&, read] {
        read(measurement.end, load::Measured::What::cpu);
        load::Usage memory;
        read(memory, everything);
        measurement.end.resident_bytes = memory.resident_bytes;
        measurement.kernel_end = load::kernel_memory();
    };
}

/// Says why a run could not be made, with the remedy.
void explain(const load::Options& options, const rf::Error& error) {
    if (error.is(std::errc::too_many_files_open)) {
        fmt::print(stderr,
                   "load: {} connections are too many: this process may have {} files open. Raise "
                   "the hard limit (`ulimit -Hn`, LimitNOFILE=).\n",
                   options.connections, load::raise_fd_limit());
        return;
    }
    const auto facts =
        rf::uring::gather_facts(rf::limits::ring_submissions, rf::limits::ring_completions,
                                rf::limits::max_receive_buffers);
    fmt::print(stderr, "load: {}\n", rf::uring::diagnose(error, facts).text);
}

bool write_plot(const std::string& path, const load::Options& options, const load::Report& report) {
    std::ofstream file{path};
    file << load::to_svg(options, report);
    file.close();
    if (!file) fmt::print(stderr, "load: cannot write {}\n", path);
    return static_cast<bool>(file);
}

int run(Arguments& arguments) {
    load::Options& options = arguments.load;
    std::optional<load::Measurement> measurement;
    std::optional<load::Measured> processes;
    bool lost_process = false;
    if (!arguments.measured.empty()) {
        auto opened = load::Measured::open(arguments.measured);
        if (!opened) {
            fmt::print(stderr, "load: --measure: {}\n", opened.error().text());
            return unusable;
        }
        processes = *std::move(opened);
        measurement.emplace();
        measure(options, *processes, *measurement, lost_process);
    }
    const bool terminal = isatty(STDERR_FILENO) == 1;
    if (terminal) options.progress = show;
    const auto report = load::run(options);
    if (terminal) fmt::print(stderr, "\r\033[K");
    if (!report) {
        explain(options, report.error());
        return unusable;
    }
    if (lost_process) {
        fmt::print(stderr, "load: a process of --measure ended; its CPU time is not known\n");
        measurement.reset();
    }
    fmt::print("{}", arguments.json ? load::to_json(options, *report, measurement) + "\n"
                                    : load::to_table(options, *report, measurement));
    std::fflush(stdout);
    if (report->failures.refused == options.connections)
        fmt::print(stderr, "load: {} refuses connections: is the server running?\n",
                   options.target.text());
    const bool plotted = arguments.plot.empty() || write_plot(arguments.plot, options, *report);
    if (!plotted || lost_process) return unusable;
    return report->clean() ? 0 : unclean;
}

}  // namespace

int main(int argc, char** argv) try {
    Arguments arguments;
    CLI::App app{
        "Puts load on a server that returns every byte it is sent, and checks that it does.",
        "load"};
    declare(app, arguments);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : unusable;
    }
    load::Options& options = arguments.load;
    options.mode = mode_of(arguments.mode);
    options.duration = milliseconds(arguments.seconds);
    options.warmup = milliseconds(arguments.warmup_s);
    options.timeout = milliseconds(arguments.timeout_s);
    if (options.mode == load::Mode::bulk && app.count("--payload") == 0)
        options.payload_bytes = load::max_single_payload_bytes;
    if (const std::string text = objection(options); !text.empty()) {
        fmt::print(stderr, "load: {}\n", text);
        return unusable;
    }
    auto target = load::find_target(arguments.target);
    if (const std::string* problem = std::get_if<std::string>(&target)) {
        fmt::print(stderr, "load: {}\n", *problem);
        return unusable;
    }
    options.target = std::get<rf::Address>(target);
    options.interrupted = load::interrupted;
    load::watch_for_interrupts();
    return run(arguments);
} catch (const std::exception& error) {
    fmt::print(stderr, "load: {}\n", error.what());
    return unusable;
}
