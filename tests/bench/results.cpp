#include "results.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

import load;

namespace bench {
namespace {

constexpr const char* ours = "ringfort";

double cpu_us_per_request(const Slice& slice) {
    return static_cast<double>(slice.cpu.total_ns) / 1e3 / static_cast<double>(slice.requests);
}

double krps(const Slice& slice) {
    return static_cast<double>(slice.requests) / slice.seconds / 1e3;
}

double busy_percent(const Slice& slice) {
    return 100 * static_cast<double>(slice.cpu.total_ns) / 1e9 / slice.seconds;
}

double gbit_per_s(const Slice& slice) {
    return 8e-9 * static_cast<double>(slice.bytes) / slice.seconds;
}

std::string spread_text(const Spread& spread, int digits) {
    return fmt::format("{:.{}f} ({:.{}f}..{:.{}f})", spread.median, digits, spread.least, digits,
                       spread.most, digits);
}

std::string allocations_text(const Series& series) {
    const auto median = series.allocations_per_request();
    return median ? fmt::format("{:.4f}", *median) : "not counted";
}

/// The last column: our figure over this one.
std::string ratio_text(const CellResult& cell, const Series& series) {
    const Series* mine = cell.find(ours);
    if (mine == nullptr || mine == &series) return "|  |  |\n";
    const Ratio ratio = ratio_of(cell, *mine, series);
    if (ratio.pairs == 0) return "|  |  |\n";
    return fmt::format("| {} | {} of {} |\n", spread_text(ratio.spread, 3), ratio.below,
                       ratio.pairs);
}

std::string head(const CellResult& cell) {
    std::string columns;
    switch (cell.spec.work) {
        case Work::round_trips:
        case Work::churn:
            columns = "krps | " + cell.spec.unit() +
                      ": median (min..max) | user % | busy % | "
                      "p50 us | p99 us | p99.9 us";
            break;
        case Work::bulk:
            columns = "Gbit/s | " + cell.spec.unit() + ": median (min..max) | user % | busy %";
            break;
        case Work::idle:
            columns = cell.spec.unit() + ": median (min..max) | slab | of it unreclaimable";
            break;
        case Work::calls:
            columns = cell.spec.unit() +
                      ": median (min..max) | system calls/request | allocations/request | krps";
            break;
    }
    std::string text = fmt::format("| server | {} | ringfort / it | below 1 in |\n|", columns);
    for (std::size_t bars = static_cast<std::size_t>(std::count(text.begin(), text.end(), '|'));
         bars > 1; --bars)
        text += "---|";
    return text + "\n";
}

std::string row(const CellResult& cell, const Series& series) {
    const auto& slices = series.slices;
    const Spread figure = spread_of(slices, [&](const Slice& s) { return cell.figure(s); });
    const auto median = [&](auto of) { return spread_of(slices, of).median; };
    const auto us = [&](double q) { return static_cast<double>(series.latency.quantile(q)) / 1e3; };
    std::string text = fmt::format("| {:<21} ", series.server);
    switch (cell.spec.work) {
        case Work::round_trips:
        case Work::churn:
            text += fmt::format(
                "| {:>6.1f} | {} | {:>4.1f} | {:>3.0f} | {:>5.0f} | {:>5.0f} | "
                "{:>5.0f} ",
                median(krps), spread_text(figure, 2), 100 * series.user_share(),
                median(busy_percent), us(0.5), us(0.99), us(0.999));
            break;
        case Work::bulk:
            text += fmt::format("| {:>5.1f} | {} | {:>4.1f} | {:>3.0f} ", median(gbit_per_s),
                                spread_text(figure, 3), 100 * series.user_share(),
                                median(busy_percent));
            break;
        case Work::idle:
            text += fmt::format(
                "| {} | {:.0f} | {:.0f} ", spread_text(figure, 0),
                median([](const Slice& s) { return s.slab_bytes_per_connection; }),
                median([](const Slice& s) { return s.unreclaimable_bytes_per_connection; }));
            break;
        case Work::calls:
            text += fmt::format("| {} | {:.3f} | {} | {:.1f} ", spread_text(figure, 4),
                                median([](const Slice& s) { return s.calls_per_request; }),
                                allocations_text(series), median(krps));
            break;
    }
    return text + ratio_text(cell, series);
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
    return fmt::format("{}: {:.2f} % of the CPU is the master's. ", series.server, 100 * share);
}

/// Whatever else ran on the two cores spoils the figures; say so next to them.
std::string others_sentence(const CellResult& cell, const Cores& cores) {
    constexpr double tolerated = 0.03;
    double others_s = 0;
    double seconds = 0;
    for (const Series& series : cell.series) {
        for (const Slice& slice : series.slices) {
            others_s += slice.others_s;
            seconds += slice.seconds;
        }
    }
    if (seconds <= 0) return {};
    const double share = std::max(0.0, others_s / ((cores.server == cores.load ? 1 : 2) * seconds));
    return fmt::format("{}ther programs and the hypervisor took {:.1f} % of the cores used. ",
                       share > tolerated ? "DISTURBED: o" : "O", 100 * share);
}

std::string slice_json(const CellResult& cell, const Slice& slice) {
    return fmt::format(
        "{{\"figure\":{:.6g},\"seconds\":{:.4f},\"requests\":{},\"bytes\":{},\"cpu_us\":{:.1f},"
        "\"cpu_us_per_request\":{:.4f},\"user_ticks\":{},\"system_ticks\":{},"
        "\"slab_bytes_per_connection\":{:.1f},\"unreclaimable_bytes_per_connection\":{:.1f},"
        "\"calls_per_request\":{:.5f},\"allocations_per_request\":{},"
        "\"upstream_s\":{:.4f},\"others_s\":{:.4f}}}",
        cell.figure(slice), slice.seconds, slice.requests, slice.bytes,
        static_cast<double>(slice.cpu.total_ns) / 1e3, cpu_us_per_request(slice),
        slice.cpu.user_ticks, slice.cpu.system_ticks, slice.slab_bytes_per_connection,
        slice.unreclaimable_bytes_per_connection, slice.calls_per_request,
        slice.allocations_per_request ? fmt::format("{:.6f}", *slice.allocations_per_request)
                                      : "null",
        slice.upstream_s, slice.others_s);
}

std::string series_json(const CellResult& cell, const Series& series) {
    std::string slices;
    for (const Slice& slice : series.slices)
        slices += (slices.empty() ? "" : ",") + slice_json(cell, slice);
    std::string failure;
    for (const char c : series.failure) failure += c == '"' || c == '\\' || c < ' ' ? ' ' : c;
    const auto us = [&](double q) { return static_cast<double>(series.latency.quantile(q)) / 1e3; };
    return fmt::format(
        "{{\"server\":\"{}\",\"median\":{:.6g},\"krps\":{:.3f},\"user_share\":{:.5f},"
        "\"latency_us\":{{\"p50\":{:.1f},\"p99\":{:.1f},\"p99.9\":{:.1f}}},\"failure\":\"{}\","
        "\"slices\":[{}]}}",
        series.server,
        spread_of(series.slices, [&](const Slice& s) { return cell.figure(s); }).median,
        spread_of(series.slices, krps).median, series.user_share(), us(0.5), us(0.99), us(0.999),
        failure, slices);
}

}  // namespace

std::string to_table(const CellResult& cell, const Cores& cores) {
    std::string text =
        fmt::format("\n**{}** (`{}`)\n\n{}", cell.spec.title(), cell.spec.name(), head(cell));
    std::string failures;
    for (const Series& series : cell.series) {
        if (!series.slices.empty()) text += row(cell, series);
        if (!series.failure.empty())
            failures += fmt::format("FAILED: {}: {}\n", series.server, series.failure);
    }
    text += "\n";
    if (cell.spec.work != Work::idle && cell.spec.work != Work::calls)
        text += others_sentence(cell, cores);
    const Series* mine = cell.find(ours);
    if (mine != nullptr && mine->processes > 1 && cell.spec.work != Work::idle)
        text += master_sentence(*mine);
    return text + "\n" + failures;
}

std::string to_json(const std::vector<CellResult>& cells) {
    std::string all;
    for (const CellResult& cell : cells) {
        std::string series;
        for (const Series& one : cell.series)
            series += (series.empty() ? "" : ",\n   ") + series_json(cell, one);
        all += fmt::format("{} {{\"cell\":\"{}\",\"unit\":\"{}\",\"servers\":[\n   {}]}}",
                           all.empty() ? "" : ",\n", cell.spec.name(), cell.spec.unit(), series);
    }
    return fmt::format("{{\"cells\":[\n{}]}}\n", all);
}

std::string to_chart(const CellResult& cell) {
    std::vector<load::Bar> bars;
    for (const Series& series : cell.series) {
        if (series.slices.empty()) continue;
        const Spread spread =
            spread_of(series.slices, [&](const Slice& s) { return cell.figure(s); });
        bars.push_back({series.server, spread.median, fmt::format("{:.3g}", spread.median),
                        series.server == ours});
    }
    return bars.empty() ? "" : load::to_svg(cell.spec.title(), cell.spec.unit(), bars);
}

}  // namespace bench
