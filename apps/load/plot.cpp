module;
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module load;

import ringfort;

/// Plots are written as SVG by hand: two kinds of them are a hundred lines, and a plotting library
/// would be another dependency of every user.
namespace load {
namespace {

constexpr double width = 720;
constexpr double chart_height = 240;
constexpr double left = 70;
constexpr double right = 20;
constexpr std::string_view ink = "#1b3a4b";
constexpr std::string_view accent = "#2a7f9e";
constexpr std::string_view pale = "#9fb8c4";

std::string escaped(std::string_view text) {
    std::string safe;
    for (const char c : text) {
        switch (c) {
            case '<':
                safe += "&lt;";
                break;
            case '>':
                safe += "&gt;";
                break;
            case '&':
                safe += "&amp;";
                break;
            default:
                safe += c;
        }
    }
    return safe;
}

std::string opening(double height) {
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
        "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        width, height);
}

std::string label(double x, double y, std::string_view anchor, std::string_view text) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\">{}</text>\n",
                       x, y, anchor, ink, escaped(text));
}

std::string line(double x1, double y1, double x2, double y2) {
    return fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
        "stroke-width=\"0.5\"/>\n",
        x1, y1, x2, y2, pale);
}

/// A figure with three digits that mean something.
std::string short_text(double value) {
    if (value >= 1e6) return fmt::format("{:.3g}M", value / 1e6);
    if (value >= 1e4) return fmt::format("{:.3g}k", value / 1e3);
    return fmt::format("{:.3g}", value);
}

/// The next of 1, 2, 5, 10, 20, ... that is not below the value.
double round_up(double value) {
    if (value <= 0) return 1;
    const double power = std::pow(10.0, std::floor(std::log10(value)));
    for (const double step : {1.0, 2.0, 5.0})
        if (step * power >= value) return step * power;
    return 10 * power;
}

/// A chart's frame and its curve; x and y of a point are shares of the chart, 0 to 1.
struct Chart {
    double top;
    std::string_view title;
    std::vector<std::pair<double, std::string>> x_marks;
    std::vector<std::pair<double, std::string>> y_marks;
    std::vector<std::pair<double, double>> points;
};

std::string draw(const Chart& chart) {
    const double bottom = chart.top + chart_height;
    const double span = width - left - right;
    std::string svg = label(left, chart.top - 10, "start", chart.title);
    for (const auto& [at, text] : chart.y_marks) {
        const double y = bottom - at * chart_height;
        svg += line(left, y, width - right, y) + label(left - 6, y + 4, "end", text);
    }
    for (const auto& [at, text] : chart.x_marks) {
        const double x = left + at * span;
        svg += line(x, chart.top, x, bottom) + label(x, bottom + 16, "middle", text);
    }
    std::string points;
    for (const auto& [x, y] : chart.points)
        points += fmt::format("{:.1f},{:.1f} ", left + x * span,
                              bottom - std::clamp(y, 0.0, 1.0) * chart_height);
    return svg +
           fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                       points, accent);
}

/// As HdrHistogram plots it: each further nine of the percentile takes the same width.
Chart latency_chart(const Histogram& latency, double top) {
    constexpr int nines = 5;
    Chart chart{top, "latency in us by percentile", {}, {}, {}};
    const double most = round_up(static_cast<double>(latency.max()) / 1e3);
    constexpr std::array<std::string_view, nines + 1> names{"0",    "90",    "99",
                                                            "99.9", "99.99", "99.999"};
    for (int i = 0; i <= nines; ++i)
        chart.x_marks.emplace_back(static_cast<double>(i) / nines,
                                   names[static_cast<std::size_t>(i)]);
    for (int i = 0; i <= 4; ++i) chart.y_marks.emplace_back(i / 4.0, short_text(most * i / 4));
    constexpr int steps = 200;
    for (int i = 0; i <= steps; ++i) {
        const double x = static_cast<double>(i) / steps;
        const double q = 1 - std::pow(10.0, -x * nines);
        if ((1 - q) * static_cast<double>(latency.count()) < 1) break;
        chart.points.emplace_back(x, static_cast<double>(latency.quantile(q)) / 1e3 / most);
    }
    return chart;
}

Chart throughput_chart(const Report& report, double top) {
    Chart chart{top, "requests per second over the window", {}, {}, {}};
    std::vector<std::pair<double, double>> rates;
    double most = 0;
    Sample last{};
    for (const Sample& sample : report.samples) {
        if (sample.seconds - last.seconds < 0.02) continue;
        const double rate =
            static_cast<double>(sample.requests - last.requests) / (sample.seconds - last.seconds);
        rates.emplace_back(sample.seconds / std::max(report.seconds, 1e-9), rate);
        most = std::max(most, rate);
        last = sample;
    }
    most = round_up(most);
    for (int i = 0; i <= 4; ++i) {
        chart.x_marks.emplace_back(i / 4.0, fmt::format("{:.3g} s", report.seconds * i / 4));
        chart.y_marks.emplace_back(i / 4.0, short_text(most * i / 4));
    }
    for (const auto& [at, rate] : rates) chart.points.emplace_back(std::min(at, 1.0), rate / most);
    return chart;
}

}  // namespace

std::string to_svg(const Options& options, const Report& report) {
    constexpr double first_top = 60;
    constexpr double second_top = first_top + chart_height + 60;
    std::string svg = opening(second_top + chart_height + 40);
    svg += label(
        left, 22, "start",
        fmt::format("{} on {}: {} x {} B, depth {}", name_of(options.mode), options.target.text(),
                    options.connections, options.payload_bytes, options.depth));
    svg += draw(latency_chart(report.latency, first_top));
    svg += draw(throughput_chart(report, second_top));
    return svg + "</svg>\n";
}

std::string to_svg(std::string_view title, std::string_view unit, const std::vector<Bar>& bars) {
    constexpr double top = 40;
    constexpr double step = 24;
    constexpr double names = 170;
    constexpr double texts = 150;
    double most = 0;
    for (const Bar& bar : bars) most = std::max(most, bar.value);
    std::string svg = opening(top + step * static_cast<double>(bars.size()) + 16);
    svg += label(12, 22, "start", fmt::format("{} ({})", title, unit));
    double y = top;
    for (const Bar& bar : bars) {
        const double length = most > 0 ? (width - names - texts) * bar.value / most : 0;
        svg += label(names - 8, y + 13, "end", bar.label);
        svg += fmt::format(
            "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"16\" fill=\"{}\"/>\n", names,
            y, length, bar.emphasis ? accent : pale);
        svg += label(names + length + 6, y + 13, "start",
                     bar.text.empty() ? short_text(bar.value) : bar.text);
        y += step;
    }
    return svg + "</svg>\n";
}

}  // namespace load
