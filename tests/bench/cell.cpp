#include "cell.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "generator.hpp"

namespace bench {
namespace {

constexpr std::chrono::milliseconds warmup{200};

/// Middle, smallest and largest of some figures.
struct Spread {
    double median = 0;
    double least = 0;
    double most = 0;
};

Spread spread_of(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return {median, values.front(), values.back()};
}

template <typename Figure>
Spread spread_of(const std::vector<Slice>& slices, Figure figure) {
    std::vector<double> values;
    std::transform(slices.begin(), slices.end(), std::back_inserter(values), figure);
    return spread_of(std::move(values));
}

/// The clocks, read together when a window begins and when it ends.
struct Reading {
    CpuTime server;
    std::uint64_t load_ns = 0;
    std::uint64_t idle_ns = 0;
};

Reading read_clocks(const Contestant& server, const Cores& cores) {
    timespec own{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    const auto own_ns = static_cast<std::uint64_t>(own.tv_sec) * 1'000'000'000U +
                        static_cast<std::uint64_t>(own.tv_nsec);
    return {server.cpu(), own_ns, idle_ns(cores)};
}

CpuTime operator-(const CpuTime& end, const CpuTime& begin) {
    return {end.total_ns - begin.total_ns, end.leader_ns - begin.leader_ns,
            end.user_ticks - begin.user_ticks, end.system_ticks - begin.system_ticks};
}

/// Loads one server once. The CPU clocks are read when the counting begins and when it ends, so
/// connecting, warming up and closing are in neither figure.
void run_slice(const CellOptions& options, const Contestant& server, Series& series) {
    Reading begin;
    Reading end;
    LoadOptions load;
    load.port = server.port();
    load.connections = options.connections;
    load.payload_bytes = options.payload_bytes;
    load.depth = options.depth;
    load.warmup = warmup;
    load.duration = options.slice;
    load.window_begins = [&] { begin = read_clocks(server, options.cores); };
    load.window_ends = [&] { end = read_clocks(server, options.cores); };
    load.interrupted = options.interrupted;
    const LoadReport report = run_load(load);
    if (report.interrupted) throw std::runtime_error("interrupted");
    if (!report.clean()) {
        throw std::runtime_error(fmt::format("{} failed under {} connections x {} B: {}",
                                             server.name(), options.connections,
                                             options.payload_bytes, describe(report)));
    }
    server.require_same_processes();
    const CpuTime cpu = end.server - begin.server;
    const double cores = options.cores.server == options.cores.load ? 1 : 2;
    const std::uint64_t known_ns =
        cpu.total_ns + (end.load_ns - begin.load_ns) + (end.idle_ns - begin.idle_ns);
    const double others_s = cores * report.seconds - static_cast<double>(known_ns) / 1e9;
    series.slices.push_back({report.seconds, report.requests, cpu, std::max(0.0, others_s)});
    series.latency.merge(report.latency);
}

std::string row(const Series& series) {
    const Spread krps = spread_of(series.slices, [](const Slice& s) { return s.krps(); });
    const Spread cpu =
        spread_of(series.slices, [](const Slice& s) { return s.cpu_us_per_request(); });
    double user = 0;
    double ticks = 0;
    double busy_s = 0;
    double seconds = 0;
    for (const Slice& slice : series.slices) {
        user += static_cast<double>(slice.cpu.user_ticks);
        ticks += static_cast<double>(slice.cpu.user_ticks + slice.cpu.system_ticks);
        busy_s += static_cast<double>(slice.cpu.total_ns) / 1e9;
        seconds += slice.seconds;
    }
    const auto us = [&](double q) { return static_cast<double>(series.latency.quantile(q)) / 1e3; };
    return fmt::format(
        "| {:<10} | {:>6.1f} | {:>6.2f} ({:.2f}..{:.2f}) | {:>5.1f} | {:>5.0f} | {:>6.0f} "
        "| {:>6.0f} | {:>6.0f} |\n",
        series.server, krps.median, cpu.median, cpu.least, cpu.most,
        ticks > 0 ? 100 * user / ticks : 0, 100 * busy_s / seconds, us(0.5), us(0.99), us(0.999));
}

std::string ratio_sentence(const Cell& cell) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < cell.ours.slices.size(); ++i) {
        ratios.push_back(cell.ours.slices[i].cpu_us_per_request() /
                         cell.yardstick.slices[i].cpu_us_per_request());
    }
    const auto better = std::count_if(ratios.begin(), ratios.end(), [](double r) { return r < 1; });
    const Spread ratio = spread_of(ratios);
    return fmt::format(
        "CPU per request, {} / {}, pair by pair: median {:.3f} ({:.3f}..{:.3f}), below 1 in {} of "
        "{} pairs\n",
        cell.ours.server, cell.yardstick.server, ratio.median, ratio.least, ratio.most, better,
        ratios.size());
}

/// The process we started is, for Ringfort, the master, which has nothing to do with requests.
std::string master_sentence(const Series& series) {
    double leader = 0;
    double total = 0;
    for (const Slice& slice : series.slices) {
        leader += static_cast<double>(slice.cpu.leader_ns);
        total += static_cast<double>(slice.cpu.total_ns);
    }
    const double share = total > 0 ? leader / total : 0;
    return fmt::format("{}: {:.2f} % of the CPU is the master's\n", series.server, 100 * share);
}

/// Whatever else ran on the two cores spoils the figures; say so next to them.
std::string others_sentence(const CellOptions& options, const Cell& cell) {
    constexpr double tolerated = 0.03;
    double others_s = 0;
    double seconds = 0;
    for (const Series* series : {&cell.ours, &cell.yardstick}) {
        for (const Slice& slice : series->slices) {
            others_s += slice.others_s;
            seconds += slice.seconds;
        }
    }
    const double cores = options.cores.server == options.cores.load ? 1 : 2;
    const double share = others_s / (cores * seconds);
    return fmt::format("{}other programs and the hypervisor took {:.1f} % of the cores used\n",
                       share > tolerated ? "DISTURBED: " : "", 100 * share);
}

}  // namespace

Cell run_cell(const CellOptions& options, const Contestant& ours, const Contestant& yardstick) {
    Series thrown_away;
    run_slice(options, ours, thrown_away);
    run_slice(options, yardstick, thrown_away);
    Cell cell{{ours.name(), ours.processes(), {}, {}},
              {yardstick.name(), yardstick.processes(), {}, {}}};
    for (std::uint32_t pair = 0; pair < options.pairs; ++pair) {
        run_slice(options, ours, cell.ours);
        run_slice(options, yardstick, cell.yardstick);
    }
    return cell;
}

std::string to_table(const CellOptions& options, const Cell& cell) {
    std::string text = fmt::format(
        "\n{} connection{} x {} B, depth {}\n\n"
        "| server | krps | CPU us/request: median (min..max) | user % | busy % | p50 us | p99 us "
        "| p99.9 us |\n|---|---|---|---|---|---|---|---|\n",
        options.connections, options.connections == 1 ? "" : "s", options.payload_bytes,
        options.depth);
    text += row(cell.ours) + row(cell.yardstick) + "\n" + ratio_sentence(cell);
    text += others_sentence(options, cell);
    if (cell.ours.processes > 1) text += master_sentence(cell.ours);
    return text;
}

}  // namespace bench
