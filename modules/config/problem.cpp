module;
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

constexpr std::size_t tab_width = 4;
constexpr std::size_t max_shown_width = 100;  // of a source line, in terminal columns
constexpr std::string_view replacement = "\xef\xbf\xbd";

struct Range {
    std::uint32_t first;
    std::uint32_t last;
};
template <std::size_t count>
bool contains(const std::array<Range, count>& ranges, std::uint32_t code) {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](Range r) { return r.first <= code && code <= r.last; });
}
// Coarse on purpose: enough to keep the caret below its character.
constexpr std::array<Range, 4> zero_wide{
    {{0x300, 0x36f}, {0x200b, 0x200d}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}}};
constexpr std::array<Range, 7> double_wide{{{0x1100, 0x115f},
                                            {0x2e80, 0xa4cf},
                                            {0xac00, 0xd7a3},
                                            {0xf900, 0xfaff},
                                            {0xfe30, 0xfe6f},
                                            {0xff00, 0xff60},
                                            {0x1f300, 0x1faff}}};
// C0, C1 and the characters that reorder what a terminal shows.
constexpr std::array<Range, 4> unprintable{
    {{0, 0x1f}, {0x7f, 0x9f}, {0x202a, 0x202e}, {0x2066, 0x2069}}};

/// A code point as it is shown.
struct Cell {
    std::string text;
    std::size_t width = 1;
};

Cell cell(std::string_view bytes) {
    const auto lead = static_cast<unsigned char>(bytes.front());
    std::uint32_t code = bytes.size() == 1 ? lead : lead & (0x7fU >> bytes.size());
    for (const char byte : bytes.substr(1))
        code = (code << 6U) | (static_cast<unsigned char>(byte) & 0x3fU);
    if (code == '\t') return {std::string(tab_width, ' '), tab_width};
    const bool broken = bytes.size() == 1 && lead >= 0x80;
    if (broken || contains(unprintable, code)) return {std::string{replacement}, 1};
    if (contains(zero_wide, code)) return {std::string{bytes}, 0};
    return {std::string{bytes}, contains(double_wide, code) ? 2U : 1U};
}

std::vector<Cell> cells(std::string_view line) {
    std::vector<Cell> result;
    while (!line.empty()) {
        std::size_t size = 1;
        while (size < std::min<std::size_t>(line.size(), 4) &&
               (static_cast<unsigned char>(line[size]) & 0xc0U) == 0x80U)
            ++size;
        result.push_back(cell(line.substr(0, size)));
        line.remove_prefix(size);
    }
    return result;
}

/// The cells of a line that are shown, and which of them are underlined.
struct View {
    std::size_t first, last;    ///< shown
    std::size_t begin, finish;  ///< underlined; may be one past the line
};

View view(const std::vector<Cell>& line, Span span) {
    const std::size_t begin = std::min<std::size_t>(span.begin.column - 1, line.size());
    std::size_t finish = span.end.line == span.begin.line
                             ? std::min<std::size_t>(span.end.column - 1, line.size())
                             : line.size();
    finish = std::max(finish, begin + 1);
    std::size_t total = 0;
    for (const Cell& c : line) total += c.width;
    if (total <= max_shown_width) return {0, line.size(), begin, finish};
    std::size_t first = begin;
    for (std::size_t width = 0; first > 0 && width < max_shown_width / 3; --first)
        width += line[first - 1].width;
    std::size_t last = first;
    for (std::size_t width = 0; last < line.size() && width < max_shown_width; ++last)
        width += line[last].width;
    return {first, last, begin, std::max(std::min(finish, last), begin + 1)};
}

void append_snippet(std::string& out, const Snippet& snippet, char mark) {
    if (snippet.span.begin.line == 0) return;
    const std::vector<Cell> line = cells(snippet.line);
    const View shown = view(line, snippet.span);
    std::string source, underline;
    if (shown.first > 0) {
        source += "...";
        underline += "   ";
    }
    for (std::size_t i = shown.first; i < shown.last; ++i) {
        source += line[i].text;
        if (i < shown.finish) underline.append(line[i].width, i < shown.begin ? ' ' : mark);
    }
    if (shown.begin >= line.size()) underline += mark;
    if (shown.last < line.size()) source += "...";
    fmt::format_to(std::back_inserter(out), "{:>5} | {}\n      | {}\n", snippet.span.begin.line,
                   source, underline);
}

/// Replaces what a terminal would act upon: messages quote the text they complain about.
std::string harmless(std::string_view text) {
    std::string out;
    for (const Cell& c : cells(text)) out += c.text;
    return out;
}

}  // namespace

std::string Problem::headline() const {
    if (place().line == 0) return fmt::format("{}: error: {}", file, harmless(message));
    return fmt::format("{}:{}:{}: error: {}", file, place().line, place().column,
                       harmless(message));
}

std::string Problem::text() const {
    std::string out = headline() + "\n";
    append_snippet(out, snippet, '^');
    for (const Note& note : notes) {
        out += "  note: " + harmless(note.message) + "\n";
        append_snippet(out, note.snippet, '-');
    }
    if (!help.empty()) out += "  help: " + harmless(help) + "\n";
    return out;
}

std::string Problems::text() const {
    std::string out;
    for (const Problem& problem : list) out += problem.text();
    const std::size_t count = list.size() + left_out;
    if (count < 2) return out;
    fmt::format_to(std::back_inserter(out), "{}: {} errors", list.front().file, count);
    if (left_out > 0) fmt::format_to(std::back_inserter(out), ", {} of them not shown", left_out);
    return out + "\n";
}

}  // namespace ringfort::config
