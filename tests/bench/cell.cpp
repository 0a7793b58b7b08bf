#include "cell.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <map>
#include <optional>
#include <stdexcept>

#include "calls.hpp"

import load;
import ringfort;

namespace bench {
namespace {

constexpr std::chrono::milliseconds warmup{200};
constexpr double gib = 1U << 30;

/// The clocks, read together when a window begins and when it ends.
struct Reading {
    CpuTime server;
    std::uint64_t load_ns = 0;
    std::uint64_t idle_ns = 0;
    std::uint64_t upstream_ns = 0;
    std::uint64_t enters = 0;
    std::uint64_t calls = 0;
    std::optional<std::uint64_t> allocations = {};
};

Reading read_clocks(const Contestant& server, const CellOptions& options,
                    const CallCounter* counter) {
    const Cores& cores = options.cores;
    timespec own{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    const auto own_ns = static_cast<std::uint64_t>(own.tv_sec) * 1'000'000'000U +
                        static_cast<std::uint64_t>(own.tv_nsec);
    Reading reading{server.cpu(), own_ns, idle_ns(cores)};
    const bool shared = cores.upstream == cores.server || cores.upstream == cores.load;
    if (options.upstream != nullptr && shared)
        reading.upstream_ns = options.upstream->cpu().total_ns;
    if (counter != nullptr) {
        reading.enters = counter->enters();
        reading.calls = counter->all();
        reading.allocations = counter->allocations();
    }
    return reading;
}

CpuTime operator-(const CpuTime& end, const CpuTime& begin) {
    return {end.total_ns - begin.total_ns, end.leader_ns - begin.leader_ns,
            end.user_ticks - begin.user_ticks, end.system_ticks - begin.system_ticks};
}

load::Mode mode_of(Work work) {
    switch (work) {
        case Work::churn:
            return load::Mode::churn;
        case Work::bulk:
            return load::Mode::bulk;
        case Work::idle:
            return load::Mode::idle;
        case Work::round_trips:
        case Work::calls:
            break;
    }
    return load::Mode::echo;
}

load::Options load_options(const CellSpec& spec, const CellOptions& options,
                           const Contestant& server) {
    load::Options load;
    load.target = *ringfort::Address::parse(fmt::format("127.0.0.1:{}", server.port()));
    load.mode = mode_of(spec.work);
    load.connections = spec.connections;
    load.payload_bytes = spec.payload_bytes;
    load.depth = spec.depth;
    load.warmup = warmup;
    load.duration = options.slice;
    load.timeout = std::chrono::milliseconds(10'000);
    load.interrupted = options.interrupted;
    return load;
}

/// Notes memory before the first connect and at the end of the window.
struct MemoryWatch {
    load::Usage before;
    load::Usage after;
    load::KernelMemory kernel_before;
    load::KernelMemory kernel_after;
};

load::Usage memory_of(const Contestant& server) {
    const auto processes = load::Measured::open(server.pids());
    const auto usage = processes ? processes->read(load::Measured::What::cpu_and_memory)
                                 : ringfort::Result<load::Usage>{processes.error()};
    if (!usage) throw std::runtime_error(server.name() + ": one of its processes is gone");
    return *usage;
}

void add_memory(Slice& slice, const MemoryWatch& memory, std::uint32_t connections) {
    const auto each = [&](std::uint64_t before, std::uint64_t after) {
        return (static_cast<double>(after) - static_cast<double>(before)) / connections;
    };
    slice.resident_bytes_per_connection =
        each(memory.before.resident_bytes, memory.after.resident_bytes);
    slice.slab_bytes_per_connection =
        each(memory.kernel_before.slab_bytes, memory.kernel_after.slab_bytes);
    slice.unreclaimable_bytes_per_connection =
        each(memory.kernel_before.unreclaimable_bytes, memory.kernel_after.unreclaimable_bytes);
}

/// What the callbacks of a load note while it runs.
struct Notes {
    Reading begin;
    Reading end;
    MemoryWatch memory;
    std::exception_ptr thrown;  ///< by a callback: a load cannot be left in the middle
};

void take_notes(load::Options& load, Notes& notes, const CellSpec& spec, const Contestant& server,
                const CellOptions& options, const CallCounter* counter) {
    const auto noting = [&notes](auto body) {
        return [&notes, body] {
            try {
                body();
            } catch (...) {
                notes.thrown = std::current_exception();
            }
        };
    };
    const bool idle = spec.work == Work::idle;
    load.window_begins =
        noting([&, counter] { notes.begin = read_clocks(server, options, counter); });
    load.window_ends = noting([&, counter, idle] {
        notes.end = read_clocks(server, options, counter);
        if (!idle) return;
        notes.memory.after = memory_of(server);
        notes.memory.kernel_after = load::kernel_memory();
    });
    if (!idle) return;
    load.before_connecting = noting([&] {
        notes.memory.before = memory_of(server);
        notes.memory.kernel_before = load::kernel_memory();
    });
}

Slice slice_of(const load::Report& report, const Notes& notes, const CellSpec& spec,
               const Cores& where) {
    const CpuTime cpu = notes.end.server - notes.begin.server;
    const double cores = where.server == where.load ? 1 : 2;
    const auto seconds = [](std::uint64_t begin, std::uint64_t end) {  // idle clocks may step back
        return (static_cast<double>(end) - static_cast<double>(begin)) / 1e9;
    };
    Slice slice{.seconds = report.seconds,
                .requests = report.requests,
                .bytes = report.bytes,
                .cpu = cpu,
                .upstream_s = seconds(notes.begin.upstream_ns, notes.end.upstream_ns)};
    slice.others_s = cores * report.seconds - seconds(0, cpu.total_ns) -
                     seconds(notes.begin.load_ns, notes.end.load_ns) -
                     seconds(notes.begin.idle_ns, notes.end.idle_ns) - slice.upstream_s;
    const auto requests = static_cast<double>(std::max<std::uint64_t>(1, report.requests));
    slice.enters_per_request =
        static_cast<double>(notes.end.enters - notes.begin.enters) / requests;
    slice.calls_per_request = static_cast<double>(notes.end.calls - notes.begin.calls) / requests;
    if (notes.begin.allocations && notes.end.allocations)
        slice.allocations_per_request =
            static_cast<double>(*notes.end.allocations - *notes.begin.allocations) / requests;
    if (spec.work == Work::idle) add_memory(slice, notes.memory, report.connected);
    return slice;
}

/// Loads one server once. The CPU clocks are read when the counting begins and when it ends, so
/// connecting, warming up and closing are in neither figure.
void run_slice(const CellSpec& spec, const CellOptions& options, const Contestant& server,
               Series& series) {
    std::optional<CallCounter> counter;
    if (spec.work == Work::calls) counter.emplace(server.pids());
    Notes notes;
    load::Options load = load_options(spec, options, server);
    take_notes(load, notes, spec, server, options, counter ? &*counter : nullptr);
    const auto report = load::run(load);
    if (!report) throw std::runtime_error("the load could not run: " + report.error().text());
    if (options.interrupted()) throw std::runtime_error("interrupted");
    if (notes.thrown) std::rethrow_exception(notes.thrown);
    if (!report->clean()) {
        series.failure = load::describe(*report);
        return;
    }
    server.require_same_processes();
    series.slices.push_back(slice_of(*report, notes, spec, options.cores));
    series.latency.merge(report->latency);
}

/// Memory grows once in a process's life, and is counted, not timed: a few slices are enough.
std::uint32_t pairs_of(const CellSpec& spec, const CellOptions& options) {
    constexpr std::uint32_t memory_slices = 3;
    return spec.work == Work::idle ? std::min(options.pairs, memory_slices) : options.pairs;
}

/// Starts a server, runs a slice of it and ends it; whatever goes wrong with it is its failure.
void try_slice(const CellSpec& spec, const CellOptions& options, const Launch& launch,
               Series& series) {
    if (!series.failure.empty()) return;
    try {
        const Contestant server(launch);
        series.processes = server.processes();
        run_slice(spec, options, server, series);
    } catch (const std::runtime_error& error) {
        if (options.interrupted()) throw;
        series.failure = error.what();
    }
}

}  // namespace

double Series::user_share() const {
    double user = 0;
    double ticks = 0;
    for (const Slice& slice : slices) {
        user += static_cast<double>(slice.cpu.user_ticks);
        ticks += static_cast<double>(slice.cpu.user_ticks + slice.cpu.system_ticks);
    }
    return ticks > 0 ? user / ticks : 0;
}

std::optional<double> Series::allocations_per_request() const {
    std::vector<double> counted;
    for (const Slice& slice : slices)
        if (slice.allocations_per_request) counted.push_back(*slice.allocations_per_request);
    return counted.empty() ? std::nullopt : std::optional{spread_of(std::move(counted)).median};
}

const Series* CellResult::find(const std::string& server) const {
    const auto found = std::find_if(series.begin(), series.end(), [&](const Series& one) {
        return one.server == server && one.failure.empty() && !one.slices.empty();
    });
    return found == series.end() ? nullptr : &*found;
}

double CellResult::figure(const Slice& slice) const {
    const auto cpu_ns = static_cast<double>(slice.cpu.total_ns);
    switch (spec.work) {
        case Work::round_trips:
        case Work::churn:
            return cpu_ns / 1e3 / static_cast<double>(slice.requests);
        case Work::bulk: {
            // A relay has moved every byte twice when it is back.
            const double times = spec.kind == Kind::relay ? 2 : 1;
            return cpu_ns / 1e9 / (times * static_cast<double>(slice.bytes) / gib);
        }
        case Work::idle:
            return slice.resident_bytes_per_connection;
        case Work::calls:
            return slice.enters_per_request;
    }
    return 0;
}

Spread spread_of(std::vector<double> values) {
    if (values.empty()) return {};
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return {median, values.front(), values.back()};
}

Spread spread_of(const std::vector<Slice>& slices,
                 const std::function<double(const Slice&)>& figure) {
    std::vector<double> values;
    std::transform(slices.begin(), slices.end(), std::back_inserter(values), figure);
    return spread_of(std::move(values));
}

Ratio ratio_of(const CellResult& cell, const Series& mine, const Series& other) {
    std::vector<double> ratios;
    const std::size_t pairs = std::min(mine.slices.size(), other.slices.size());
    for (std::size_t i = 0; i < pairs; ++i) {
        const double theirs = cell.figure(other.slices[i]);
        if (theirs > 0) ratios.push_back(cell.figure(mine.slices[i]) / theirs);
    }
    const auto below = std::count_if(ratios.begin(), ratios.end(), [](double r) { return r < 1; });
    const std::size_t count = ratios.size();
    return {spread_of(std::move(ratios)), static_cast<std::size_t>(below), count};
}

std::vector<std::size_t> order_of(std::size_t round, std::size_t count) {
    std::vector<std::size_t> order(count);
    for (std::size_t place = 0; place < count; ++place) order[place] = (round / 2 + place) % count;
    if (round % 2 == 1) std::reverse(order.begin(), order.end());
    return order;
}

double seconds_of(const CellSpec& spec, const CellOptions& options) {
    constexpr double starting_and_ending = 0.1;      // a server
    constexpr double connecting_and_ending = 50e-6;  // a connection, both ends
    const double slice = std::chrono::duration<double>(warmup + options.slice).count() +
                         starting_and_ending + connecting_and_ending * spec.connections;
    return slice * pairs_of(spec, options);
}

CellResult run_cell(const CellSpec& spec, const CellOptions& options,
                    const std::vector<Launch>& servers) {
    const std::uint32_t pairs = pairs_of(spec, options);
    CellResult result{spec, {}};
    for (const Launch& launch : servers) result.series.push_back({launch.name, 0});
    for (std::uint32_t round = 0; round < pairs; ++round)
        for (const std::size_t i : order_of(round, servers.size()))
            try_slice(spec, options, servers[i], result.series[i]);
    return result;
}

}  // namespace bench
