#include "bars.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <sstream>

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

/// Our figure over that of one server, or of the best (by its median) of several; all others when
/// none is named.
Verdict against(const std::vector<CellResult>& cells, const std::string& cell_name, double limit,
                const std::vector<std::string>& peers, const std::string& peers_text) {
    const std::string bar = fmt::format("{}: ours / {}", cell_name, peers_text);
    const CellResult* cell = find(cells, cell_name);
    const Series* mine = cell != nullptr ? cell->find(ours) : nullptr;
    if (mine == nullptr) return verdict(bar, limit, {});
    const auto median = [&](const Series& series) {
        return spread_of(series.slices, [&](const Slice& s) { return cell->figure(s); }).median;
    };
    const Series* best = nullptr;
    for (const Series& series : cell->series) {
        const bool named = peers.empty() || std::count(peers.begin(), peers.end(), series.server);
        if (&series == mine || !named || cell->find(series.server) == nullptr) continue;
        if (best == nullptr || median(series) < median(*best)) best = &series;
    }
    if (best == nullptr) return verdict(bar, limit, {}, "no such peer was measured");
    const Ratio ratio = ratio_of(*cell, *mine, *best);
    return verdict(bar, limit, ratio.spread.median,
                   fmt::format("{}; {:.3f}..{:.3f}, below 1 in {} of {} pairs", best->server,
                               ratio.spread.least, ratio.spread.most, ratio.below, ratio.pairs));
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
    return verdict(bar, limit, 100 * mine->user_share(),
                   hand_written != nullptr
                       ? fmt::format("uring {:.2f}", 100 * hand_written->user_share())
                       : "");
}

Verdict micro_bar(const MicroFigures& micro, const std::string& name, double limit) {
    const auto found = micro.find(name);
    return verdict(fmt::format("task {}, ns", name), limit,
                   found != micro.end() ? std::optional{found->second} : std::nullopt);
}

}  // namespace

MicroFigures run_micro(const std::string& program) {
    MicroFigures figures;
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

std::vector<Verdict> judge(const std::vector<CellResult>& cells, const MicroFigures& micro) {
    const std::vector<std::string> asio{"asio-epoll-coroutines", "asio-uring-coroutines"};
    std::vector<Verdict> all;
    for (const char* cell : {"echo-c50-p64-d1", "echo-c1000-p64-d1"})
        all.push_back(against(cells, cell, 1.03, {"uring"}, "hand-written io_uring"));
    all.push_back(user_share(cells, 1.5));
    for (const char* cell : {"echo-c50-p64-d1", "echo-c1000-p64-d1"}) {
        all.push_back(against(cells, cell, 0.90, {"epoll"}, "epoll"));
        all.push_back(against(cells, cell, 0.85, asio, "best Asio coroutines"));
    }
    for (const char* payload : {"4096", "65536"})
        for (const char* many : {"1", "50", "1000"})
            all.push_back(against(cells, fmt::format("echo-c{}-p{}-d1", many, payload), 1.05, {},
                                  "best peer"));
    all.push_back(against(cells, "echo-churn-c50", 1.05, {"epoll"}, "epoll"));
    all.push_back(figure(cells, "echo-calls-c64", 0.1));
    all.push_back(micro_bar(micro, "call", 10));
    all.push_back(micro_bar(micro, "resume", 5));
    all.push_back(micro_bar(micro, "spawn", 20));
    all.push_back(figure(cells, "echo-idle-c10000", 1024));
    for (const char* cell : {"relay-bulk-c1", "relay-bulk-c10"})
        all.push_back(against(cells, cell, 1.10, {"uring", "splice"}, "better hand-written"));
    all.push_back(against(cells, "relay-c50-p64-d1", 1.05, {"uring", "splice", "epoll"},
                          "best hand-written"));
    all.push_back(against(cells, "relay-c50-p64-d1", 0.90, {"nginx"}, "nginx"));
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
