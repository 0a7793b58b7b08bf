#include "bars.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <sstream>

#include "matrix.hpp"
#include "roster.hpp"

import ringfort;

namespace bench {
namespace {

using Outcome = Verdict::Outcome;

constexpr const char* ours = "ringfort";

const CellResult* find(const std::vector<CellResult>& cells, const std::string& name) {
    const auto found = std::find_if(cells.begin(), cells.end(), [&](const CellResult& cell) {
        return cell.spec.name() == name;
    });
    return found == cells.end() ? nullptr : &*found;
}

Verdict verdict(std::string bar, double limit, std::optional<double> value,
                std::string remark = {}) {
    Verdict made{std::move(bar), limit, value.value_or(0), std::move(remark)};
    if (value) made.outcome = *value <= limit ? Outcome::met : Outcome::missed;
    return made;
}

/// The first of `names` that were not measured, as a remark; empty when all were.
std::string missing_of(const CellResult& cell, const std::vector<std::string>& names) {
    std::string missing;
    for (const std::string& name : names)
        if (cell.find(name) == nullptr) missing += (missing.empty() ? "" : ", ") + name;
    return missing.empty() ? "" : "missing: " + missing;
}

/// The one with the lowest median; nullptr when none was measured.
const Series* best_of(const CellResult& cell, const std::vector<std::string>& names) {
    const auto median = [&](const Series& series) {
        return spread_of(series.slices, [&](const Slice& s) { return cell.figure(s); }).median;
    };
    const Series* best = nullptr;
    for (const std::string& name : names) {
        const Series* series = cell.find(name);
        if (series != nullptr && (best == nullptr || median(*series) < median(*best)))
            best = series;
    }
    return best;
}

/// Our figure over that of one server, or of the best (by its median) of several.
Verdict against(const std::vector<CellResult>& cells, const std::string& cell_name, double limit,
                const std::vector<std::string>& peers, const std::string& peers_text) {
    const std::string bar = fmt::format("{}: ours / {}", cell_name, peers_text);
    const CellResult* cell = find(cells, cell_name);
    const Series* mine = cell != nullptr ? cell->find(ours) : nullptr;
    if (mine == nullptr) return verdict(bar, limit, {});
    const std::string missing = missing_of(*cell, peers);
    const Series* best = best_of(*cell, peers);
    if (best == nullptr) return verdict(bar, limit, {}, missing);
    const Ratio ratio = ratio_of(*cell, *mine, *best);
    std::string remark =
        fmt::format("{}; {:.3f}..{:.3f}, below 1 in {} of {} pairs", best->server,
                    ratio.spread.least, ratio.spread.most, ratio.below, ratio.pairs);
    if (!missing.empty()) remark += "; " + missing;
    if (ratio.pairs < pairs_needed)
        return verdict(bar, limit, {}, fmt::format("{:.3f} of {}", ratio.spread.median, remark));
    Verdict made = verdict(bar, limit, ratio.spread.median, remark);
    // One more peer can only make the best better.
    if (!missing.empty() && made.outcome == Outcome::met) made.outcome = Outcome::not_measured;
    return made;
}

Verdict figure(const std::vector<CellResult>& cells, const std::string& cell_name, double limit) {
    const CellResult* cell = find(cells, cell_name);
    const Series* mine = cell != nullptr ? cell->find(ours) : nullptr;
    if (mine == nullptr) return verdict(cell_name, limit, {});
    const Spread spread = spread_of(mine->slices, [&](const Slice& s) { return cell->figure(s); });
    std::string remark = cell->spec.unit();
    if (cell->spec.work == Work::idle)
        remark += fmt::format("; kernel slab {:.0f} B, both ends",
                              spread_of(mine->slices, [](const Slice& s) {
                                  return s.slab_bytes_per_connection;
                              }).median);
    return verdict(cell_name, limit, spread.median, remark);
}

Verdict user_share(const std::vector<CellResult>& cells, double limit) {
    const CellResult* cell = find(cells, "echo-c50-p64-d1");
    const Series* mine = cell != nullptr ? cell->find(ours) : nullptr;
    const std::string bar = "echo-c50-p64-d1: user share of our CPU, %";
    if (mine == nullptr) return verdict(bar, limit, {});
    const Series* hand_written = cell->find("uring");
    std::string remark = hand_written != nullptr
                             ? fmt::format("uring {:.2f}", 100 * hand_written->user_share())
                             : "";
    const double share = 100 * mine->user_share();
    if (mine->slices.size() < pairs_needed)
        return verdict(bar, limit, {},
                       fmt::format("{:.2f} in {} slices; {}", share, mine->slices.size(), remark));
    return verdict(bar, limit, share, remark);
}

/// One allocation in a thousand requests is not one of each request.
Verdict allocations(const std::vector<CellResult>& cells) {
    constexpr double none = 0.001;
    const CellResult* cell = find(cells, "echo-calls-c64");
    const Series* mine = cell != nullptr ? cell->find(ours) : nullptr;
    return verdict("echo-calls-c64: allocations/request", none,
                   mine != nullptr ? mine->allocations_per_request() : std::nullopt);
}

Verdict single(const Figures& figures, const std::string& name, const std::string& bar,
               double limit, std::string remark = {}) {
    const auto found = figures.find(name);
    return verdict(bar, limit, found != figures.end() ? std::optional{found->second} : std::nullopt,
                   std::move(remark));
}

/// The lead over the other echoes.
void judge_echo(const std::vector<CellResult>& cells, std::vector<Verdict>& all) {
    const std::vector<std::string> asio{"asio-epoll-coroutines", "asio-uring-coroutines"};
    for (const char* cell : {"echo-c50-p64-d1", "echo-c1000-p64-d1"})
        all.push_back(against(cells, cell, 1.03, {"uring"}, "hand-written io_uring"));
    all.push_back(user_share(cells, 1.5));
    for (const char* many : {"1", "50", "1000"}) {
        const std::string cell = fmt::format("echo-c{}-p64-d1", many);
        all.push_back(against(cells, cell, 0.90, {"epoll"}, "epoll"));
        all.push_back(against(cells, cell, 0.85, asio, "best Asio coroutines"));
    }
    for (const CellSpec& spec : bar_cells())
        if (spec.kind == Kind::echo && spec.work == Work::round_trips && spec.payload_bytes > 64)
            all.push_back(against(cells, spec.name(), 1.05, peers_of(Kind::echo), "best peer"));
    all.push_back(against(cells, "echo-churn-c50", 1.05, {"epoll"}, "epoll"));
    for (const CellSpec& spec : calls_cells()) all.push_back(figure(cells, spec.name(), 0.1));
    all.push_back(allocations(cells));
    all.push_back(figure(cells, "echo-idle-c10000", 1024));
}

void judge_relay(const std::vector<CellResult>& cells, std::vector<Verdict>& all) {
    for (const char* cell : {"relay-bulk-c1", "relay-bulk-c10"})
        all.push_back(against(cells, cell, 1.10, {"uring", "splice"}, "better hand-written"));
    for (const char* cell : {"relay-c1-p64-d1", "relay-c50-p64-d1"}) {
        all.push_back(
            against(cells, cell, 1.05, {"uring", "splice", "epoll"}, "best hand-written"));
        all.push_back(against(cells, cell, 0.90, {"nginx"}, "nginx"));
    }
}

}  // namespace

Figures run_micro(const std::string& program) {
    Figures figures;
    std::FILE* pipe = popen((program + " --plain 2>/dev/null").c_str(), "r");
    if (pipe == nullptr) return figures;
    std::string text;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
    pclose(pipe);
    std::istringstream lines(text);
    std::string name;
    double least = 0;
    double median = 0;
    while (lines >> name >> least >> median) figures[name] = median;
    return figures;
}

std::vector<Verdict> judge(const std::vector<CellResult>& cells, const Figures& figures) {
    std::vector<Verdict> all;
    judge_echo(cells, all);
    all.push_back(single(figures, "call", "task call, ns", 10));
    all.push_back(single(figures, "resume", "task resume, ns", 5));
    all.push_back(single(figures, "spawn", "task spawn, ns", 20));
    judge_relay(cells, all);
    for (const char* name : {"accept skew, churn", "accept skew, held", "accept skew, one by one"})
        all.push_back(single(figures, name, name, 1.15, "busiest of 4 workers / mean"));
    const char* const wait = "longest wait with a worker stopped, ms";
    all.push_back(single(figures, wait, wait,
                         static_cast<double>(ringfort::limits::accept_sweep_ms.count()),
                         "connect and one request, beyond the usual; one sweep"));
    return all;
}

std::string to_table(const std::vector<Verdict>& verdicts) {
    std::string text = "\n| bar | limit | value | | |\n|---|---|---|---|---|\n";
    for (const Verdict& one : verdicts) {
        const bool measured = one.outcome != Outcome::not_measured;
        text += fmt::format("| {} | {:g} | {} | {} | {} |\n", one.bar, one.limit,
                            measured ? fmt::format("{:.4g}", one.value) : "",
                            one.outcome == Outcome::met      ? "met"
                            : one.outcome == Outcome::missed ? "MISSED"
                                                             : "not measured",
                            one.remark);
    }
    return text;
}

}  // namespace bench
