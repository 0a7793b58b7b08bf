export module load:plot;

import ringfort.std;
import :options;
import :report;

export namespace load {

/// A bar of a bar chart: what it stands for, how long it is, and what is written behind it.
struct Bar {
    std::string label;
    double value = 0;
    std::string text = {};
    bool emphasis = false;  ///< the one that is being looked at
};

/// Draws the report as SVG: latency by percentile, and requests per second over the window.
[[nodiscard]] std::string to_svg(const Options& options, const Report& report);

/// Draws horizontal bars as SVG, from 0 to the largest value.
[[nodiscard]] std::string to_svg(std::string_view title, std::string_view unit,
                                 const std::vector<Bar>& bars);

}  // namespace load
