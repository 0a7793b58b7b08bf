module;
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

/// The optimal string alignment distance: Levenshtein's, with swapped neighbours as one step.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> cost(a.size() + 1,
                                               std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
    for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replaced});
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    }
    return cost[a.size()][b.size()];
}

/// Where a path leads: the deepest value that is in the text, and how many parts it took.
struct Found {
    Span span;
    std::size_t parts = 0;
};

Found follow(const Node& table, const Path& path) {
    const Node* node = &table;
    Found found{table.span, 0};
    for (const PathPart& part : path) {
        if (const auto* key = std::get_if<std::string>(&part)) {
            node = node->find(*key);
        } else {
            const std::size_t index = std::get<std::size_t>(part);
            node = index < node->items.size() ? &node->items[index] : nullptr;
        }
        if (node == nullptr) break;
        found = {node->span, found.parts + 1};
    }
    return found;
}

constexpr const char* override_name = "--set";

std::string whole_text(const Source& source) {
    std::string text = source.text;
    for (const std::string& override : source.overrides) text += "\n" + override;
    return text;
}

}  // namespace

Report::Report(const Source& source)
    : source_{source},
      text_{whole_text(source)},
      lines_{text_},
      first_override_{static_cast<std::uint32_t>(std::ranges::count(source.text, '\n') + 2)} {}

Snippet Report::snippet(Span where) const {
    return {where, std::string{lines_.line(where.begin.line)}};
}

Problem& Report::add(Span where, std::string message, std::string help) {
    if (problems_.size() >= 2 * limits::max_config_problems) prune();
    problems_.push_back({source_.name, std::move(message), snippet(where), std::move(help), {}});
    return problems_.back();
}

void Report::add_home(std::string key, std::string table) {
    homes_.try_emplace(std::move(key), std::move(table));
}

std::string_view Report::home(std::string_view key) const {
    const auto found = homes_.find(key);
    return found == homes_.end() ? std::string_view{} : found->second;
}

/// Keeps the problems that come first in the text.
void Report::prune() {
    std::sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
        return std::tie(a.snippet.span, a.message) < std::tie(b.snippet.span, b.message);
    });
    if (problems_.size() <= limits::max_config_problems) return;
    left_out_ += problems_.size() - limits::max_config_problems;
    problems_.resize(limits::max_config_problems);
}

Problems Report::take() {
    prune();
    const auto file_of = [this](const Snippet& snippet) {
        return snippet.span.begin.line >= first_override_ ? override_name : source_.name;
    };
    for (Problem& problem : problems_) {
        problem.file = file_of(problem.snippet);
        for (Note& note : problem.notes) {
            if (const std::string file = file_of(note.snippet); file != problem.file)
                note.message += ", in " + file;
            rename(note.snippet);
        }
        rename(problem.snippet);
    }
    return {std::move(problems_), left_out_};
}

/// Counts an override's line from the first one on.
void Report::rename(Snippet& snippet) const noexcept {
    if (snippet.span.begin.line < first_override_) return;
    snippet.span.begin.line -= first_override_ - 1;
    snippet.span.end.line -= first_override_ - 1;
}

void Faults::add(const Fault& fault) {
    Problem& problem = report_.add(follow(table_, fault.at).span, fault.message, fault.help);
    if (fault.see.empty()) return;
    const Span other = follow(table_, fault.see).span;
    problem.notes.push_back({fault.note, report_.snippet(other)});
}

bool Faults::has(const Path& path) const {
    return follow(table_, path).parts == path.size();
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
    constexpr std::size_t longest = 64;  // beyond that nobody mistypes, and it costs n * m
    if (name.size() > longest) return {};
    std::string best;
    std::size_t least = std::max<std::size_t>(name.size(), 3) / 3 + 1;
    for (const std::string& candidate : candidates) {
        const std::size_t steps = distance(name, candidate);
        if (steps >= least) continue;
        least = steps;
        best = candidate;
    }
    for (const std::string& candidate : candidates)
        if (best.empty() && name.size() >= 3 && candidate.starts_with(name)) best = candidate;
    return best;
}

std::string enumerate(const std::vector<std::string>& names, std::string_view last) {
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (i > 0) out += i + 1 == names.size() ? fmt::format(" {} ", last) : ", ";
        out += "`" + names[i] + "`";
    }
    return out;
}

}  // namespace ringfort::config
