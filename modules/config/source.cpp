module;
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
module ringfort.config;

namespace ringfort::config {
namespace {

bool continues_a_code_point(char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80U;
}

/// Returns where in the line the column begins, the line's size when it is past the end.
std::size_t offset_of_column(std::string_view line, std::uint32_t column) {
    std::uint32_t current = 0;
    for (std::size_t i = 0; i < line.size(); ++i)
        if (!continues_a_code_point(line[i]) && ++current == column) return i;
    return line.size();
}

}  // namespace

Lines::Lines(std::string_view text) : text_{text}, starts_{0} {
    for (std::size_t i = 0; i < text.size(); ++i)
        if (text[i] == '\n') starts_.push_back(i + 1);
}

std::uint32_t Lines::count() const noexcept {
    return static_cast<std::uint32_t>(starts_.size());
}

std::string_view Lines::line(std::uint32_t number) const noexcept {
    if (number == 0 || number > starts_.size()) return {};
    std::string_view line = text_.substr(starts_[number - 1]);
    line = line.substr(0, line.find('\n'));
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

std::string_view Lines::text(Span span) const noexcept {
    const std::string_view whole = line(span.begin.line);
    const std::size_t begin = offset_of_column(whole, span.begin.column);
    const std::size_t end =
        span.end.line == span.begin.line ? offset_of_column(whole, span.end.column) : whole.size();
    return whole.substr(begin, std::max(begin, end) - begin);
}

std::string_view Lines::before(std::uint32_t number) const noexcept {
    if (number == 0 || number > starts_.size()) return text_;
    return text_.substr(0, starts_[number - 1]);
}

Place Lines::place(std::size_t offset) const noexcept {
    const auto next = std::upper_bound(starts_.begin(), starts_.end(), offset);
    const auto line = static_cast<std::uint32_t>(next - starts_.begin());
    const std::string_view head = text_.substr(starts_[line - 1], offset - starts_[line - 1]);
    const auto continuing = std::count_if(head.begin(), head.end(), continues_a_code_point);
    const auto column = head.size() - static_cast<std::size_t>(continuing) + 1;
    return {line, static_cast<std::uint32_t>(column)};
}

}  // namespace ringfort::config
