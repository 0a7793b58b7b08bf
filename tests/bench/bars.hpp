#pragma once
// The bars that the engine is held to, judged from the cells of one run.
#include <map>
#include <string>
#include <vector>

#include "cell.hpp"

namespace bench {

/// One bar and what was found.
struct Verdict {
    enum class Outcome : std::uint8_t { met, missed, not_measured };
    std::string bar;
    double limit = 0;
    double value = 0;
    std::string remark = {};
    Outcome outcome = Outcome::not_measured;
};

/// Figures that are no cell's, by name.
using Figures = std::map<std::string, double>;

/// Runs bench_coro; returns the medians by the names it prints: "call", "resume", "spawn", in ns.
/// Empty when it cannot be run.
[[nodiscard]] Figures run_micro(const std::string& program);

/// The least number of pairs that a ratio is judged by.
inline constexpr std::size_t pairs_needed = 20;

/// Judges every bar that cells and figures allow; the others are not_measured, with what is missing
/// in the remark. A bar against the best of several is met only if each of them was measured.
[[nodiscard]] std::vector<Verdict> judge(const std::vector<CellResult>& cells,
                                         const Figures& figures);

/// Lays verdicts out as a table.
[[nodiscard]] std::string to_table(const std::vector<Verdict>& verdicts);

}  // namespace bench
