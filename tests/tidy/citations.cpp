#include "citations.h"

#include <string_view>

namespace tidy {
namespace {

/// Returns the literal that begins at `at` or after white space there, and those that continue it.
std::string literal_at(std::string_view text, std::size_t at) {
    std::string all;
    for (;;) {
        while (at < text.size() && (text[at] == ' ' || text[at] == '\n')) ++at;
        if (at >= text.size() || text[at] != '"') return all;
        for (++at; at < text.size() && text[at] != '"'; ++at) {
            if (text[at] == '\\') ++at;
            if (at < text.size()) all += text[at];
        }
        ++at;
    }
}

}  // namespace

std::set<std::string> test_titles(const Source& source) {
    constexpr std::string_view macro = "TEST_CASE(";
    std::set<std::string> titles;
    const std::string_view text = source.text;
    for (auto at = text.find(macro); at != text.npos; at = text.find(macro, at + 1))
        titles.insert(literal_at(text, at + macro.size()));
    return titles;
}

Findings check_citations(const Source& document, const std::set<std::string>& titles) {
    Findings findings;
    std::size_t number = 0;
    for (const auto line : lines_of(document.text)) {
        ++number;
        auto row = trimmed(line);
        if (!row.starts_with('|') || !row.ends_with('|')) continue;
        row.remove_suffix(1);
        auto cell = row.substr(row.rfind('|') + 1);
        for (auto open = cell.find('"'); open != cell.npos; open = cell.find('"')) {
            const auto close = cell.find('"', open + 1);
            if (close == cell.npos) break;
            const std::string title{cell.substr(open + 1, close - open - 1)};
            if (!titles.contains(title))
                findings.push_back({document.path, number, "no test is called: " + title});
            cell.remove_prefix(close + 1);
        }
    }
    return findings;
}

}  // namespace tidy
