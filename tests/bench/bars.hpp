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

/// The medians of bench_coro by the names it prints: "call", "resume", "spawn", in ns.
using MicroFigures = std::map<std::string, double>;

/// Runs bench_coro; empty when it cannot be run.
[[nodiscard]] MicroFigures run_micro(const std::string& program);

/// Judges every bar that cells and figures allow; the others are not_measured.
[[nodiscard]] std::vector<Verdict> judge(const std::vector<CellResult>& cells,
                                         const MicroFigures& micro);

/// Lays verdicts out as a table.
[[nodiscard]] std::string to_table(const std::vector<Verdict>& verdicts);

}  // namespace bench
