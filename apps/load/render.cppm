export module load:render;

import ringfort.std;
import :options;
import :report;
import :usage;

export namespace load {

/// Lays a report out for people, a few lines.
[[nodiscard]] std::string to_table(const Options& options, const Report& report,
                                   const std::optional<Measurement>& measured = {});

/// Describes the report in one line of JSON, without a newline.
[[nodiscard]] std::string to_json(const Options& options, const Report& report,
                                  const std::optional<Measurement>& measured = {});

/// Describes the failures for people: "2 reset, 1 mismatched"; empty when there are none.
[[nodiscard]] std::string describe(const Report& report);

}  // namespace load
