// How a load report reads: one line of JSON for programs, one phrase for people.
#include <fmt/format.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "generator.hpp"

namespace bench {
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

}  // namespace

std::string to_json(const LoadOptions& options, const LoadReport& report) {
    std::string failures;
    for (const auto& [name, count] : named(report.failures)) {
        failures += fmt::format("{}\"{}\":{}", failures.empty() ? "" : ",", name, count);
    }
    const double rate =
        report.seconds > 0 ? static_cast<double>(report.requests) / report.seconds : 0;
    return fmt::format(
        "{{\"connections\":{},\"payload_bytes\":{},\"depth\":{},\"seconds\":{:.3f},"
        "\"requests\":{},\"requests_per_second\":{:.0f},"
        "\"latency_us\":{{\"p50\":{:.1f},\"p99\":{:.1f},\"p99.9\":{:.1f},\"max\":{:.1f}}},"
        "\"lost\":{},\"failures\":{{{}}},\"interrupted\":{},\"clean\":{}}}",
        options.connections, options.payload_bytes, options.depth, report.seconds, report.requests,
        rate, us(report.latency.quantile(0.5)), us(report.latency.quantile(0.99)),
        us(report.latency.quantile(0.999)), us(report.latency.max()), report.lost, failures,
        report.interrupted, report.clean());
}

std::string describe(const LoadReport& report) {
    std::string text;
    for (const auto& [name, count] : named(report.failures)) {
        if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name);
    }
    if (report.lost > 0) {
        text += fmt::format("{}{} requests lost", text.empty() ? "" : ", ", report.lost);
    }
    if (text.empty() && report.requests == 0) text = "not one request was answered";
    return text;
}

}  // namespace bench
