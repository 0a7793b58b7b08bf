module;
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
module load;

import ringfort;

namespace load {
namespace {

using Named = std::pair<std::string_view, std::uint64_t>;

std::array<Named, 7> named(const Failures& failures) {
    return {{{"refused", failures.refused},
             {"reset", failures.reset},
             {"early_eof", failures.early_eof},
             {"timed_out", failures.timed_out},
             {"mismatched", failures.mismatched},
             {"excess", failures.excess},
             {"other", failures.other}}};
}

double us(std::uint64_t value_ns) {
    return static_cast<double>(value_ns) / 1e3;
}

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

/// What one connection holds, from before the first connect to the end of the window.
double per_connection(std::uint64_t before, std::uint64_t after, const Report& report) {
    const double grown = static_cast<double>(after) - static_cast<double>(before);
    return ratio(grown, report.connected);
}

std::string load_line(const Options& options) {
    std::string line = fmt::format("{} on {}: {} connection{} x {} B", name_of(options.mode),
                                   options.target.text(), options.connections,
                                   options.connections == 1 ? "" : "s", options.payload_bytes);
    if (options.mode == Mode::echo) line += fmt::format(", depth {}", options.depth);
    if (options.rate_per_s > 0) line += fmt::format(", {:.0f} requests/s", options.rate_per_s);
    return line;
}

std::string measured_lines(const Options& options, const Report& report,
                           const Measurement& measured) {
    const auto cpu_ns = static_cast<double>(measured.cpu_ns());
    const double seconds = report.seconds;
    if (options.mode == Mode::idle) {
        return fmt::format(
            "  memory      {:.0f} B resident and {:.0f} B of kernel slab ({:.0f} B unreclaimable, "
            "both ends) a connection\n",
            per_connection(measured.before.resident_bytes, measured.end.resident_bytes, report),
            per_connection(measured.kernel_before.slab_bytes, measured.kernel_end.slab_bytes,
                           report),
            per_connection(measured.kernel_before.unreclaimable_bytes,
                           measured.kernel_end.unreclaimable_bytes, report));
    }
    return fmt::format(
        "  server CPU  {:.2f} us/request, {:.3f} s/GiB, {:.1f} % of it in user space, "
        "{:.0f} % of one core\n",
        ratio(cpu_ns / 1e3, static_cast<double>(report.requests)),
        ratio(cpu_ns / 1e9, static_cast<double>(report.bytes) / (1U << 30)),
        100 * measured.user_share(), 100 * ratio(cpu_ns / 1e9, seconds));
}

std::string measured_json(const Report& report, const Measurement& measured) {
    const auto cpu_us = static_cast<double>(measured.cpu_ns()) / 1e3;
    return fmt::format(
        ",\"measured\":{{\"cpu_us\":{:.1f},\"cpu_us_per_request\":{:.4f},\"user_share\":{:.4f},"
        "\"resident_bytes\":{},\"resident_bytes_per_connection\":{:.1f},"
        "\"slab_bytes_per_connection\":{:.1f},\"unreclaimable_bytes_per_connection\":{:.1f}}}",
        cpu_us, ratio(cpu_us, static_cast<double>(report.requests)), measured.user_share(),
        measured.end.resident_bytes,
        per_connection(measured.before.resident_bytes, measured.end.resident_bytes, report),
        per_connection(measured.kernel_before.slab_bytes, measured.kernel_end.slab_bytes, report),
        per_connection(measured.kernel_before.unreclaimable_bytes,
                       measured.kernel_end.unreclaimable_bytes, report));
}

std::string samples_json(const Report& report) {
    std::string text;
    for (const Sample& sample : report.samples)
        text +=
            fmt::format("{}[{:.3f},{}]", text.empty() ? "" : ",", sample.seconds, sample.requests);
    return text;
}

}  // namespace

std::string to_table(const Options& options, const Report& report,
                     const std::optional<Measurement>& measured) {
    const Histogram& latency = report.latency;
    std::string text = load_line(options) + "\n";
    if (options.mode == Mode::idle) {
        text +=
            fmt::format("  connections {} held for {:.2f} s\n", report.connected, report.seconds);
    } else {
        text += fmt::format("  requests    {} in {:.2f} s: {:.1f} k/s, {:.3f} Gbit/s each way\n",
                            report.requests, report.seconds,
                            ratio(static_cast<double>(report.requests), report.seconds) / 1e3,
                            8e-9 * ratio(static_cast<double>(report.bytes), report.seconds));
    }
    if (latency.count() > 0) {
        text += fmt::format(
            "  latency us  p50 {:.0f}  p90 {:.0f}  p99 {:.0f}  p99.9 {:.0f}  max {:.0f}\n",
            us(latency.quantile(0.5)), us(latency.quantile(0.9)), us(latency.quantile(0.99)),
            us(latency.quantile(0.999)), us(latency.max()));
    }
    if (report.behind > 0)
        text += fmt::format("  behind      {} requests were due and not sent at the end\n",
                            report.behind);
    if (measured) text += measured_lines(options, report, *measured);
    const std::string failures = describe(report);
    text += fmt::format("  failures    {}\n", failures.empty() ? "none" : failures);
    if (report.interrupted) text += "  interrupted before the end\n";
    return text;
}

std::string to_json(const Options& options, const Report& report,
                    const std::optional<Measurement>& measured) {
    std::string failures;
    for (const auto& [name, count] : named(report.failures)) {
        failures += fmt::format("{}\"{}\":{}", failures.empty() ? "" : ",", name, count);
    }
    const Histogram& latency = report.latency;
    return fmt::format(
        "{{\"mode\":\"{}\",\"connections\":{},\"payload_bytes\":{},\"depth\":{},\"rate\":{:.1f},"
        "\"seconds\":{:.4f},\"requests\":{},\"requests_per_second\":{:.0f},\"bytes\":{},"
        "\"latency_us\":{{\"p50\":{:.1f},\"p90\":{:.1f},\"p99\":{:.1f},\"p99.9\":{:.1f},"
        "\"max\":{:.1f}}},\"lost\":{},\"behind\":{},\"connected\":{},\"failures\":{{{}}},"
        "\"interrupted\":{},\"clean\":{},\"samples\":[{}]{}}}",
        name_of(options.mode), options.connections, options.payload_bytes, options.depth,
        options.rate_per_s, report.seconds, report.requests,
        ratio(static_cast<double>(report.requests), report.seconds), report.bytes,
        us(latency.quantile(0.5)), us(latency.quantile(0.9)), us(latency.quantile(0.99)),
        us(latency.quantile(0.999)), us(latency.max()), report.lost, report.behind,
        report.connected, failures, report.interrupted, report.clean(), samples_json(report),
        measured ? measured_json(report, *measured) : "");
}

std::string describe(const Report& report) {
    std::string text;
    for (const auto& [name, count] : named(report.failures)) {
        if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name);
    }
    if (!report.first_error.empty()) text += fmt::format(" ({})", report.first_error);
    if (report.lost > 0) {
        text += fmt::format("{}{} requests lost", text.empty() ? "" : ", ", report.lost);
    }
    if (text.empty() && report.requests == 0) text = "not one request was answered";
    return text;
}

}  // namespace load
