module;
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
module ringfort.config;

import :document;

namespace ringfort::config {
namespace {

SyntaxError at(std::string_view text, std::size_t offset, std::string message, std::string help) {
    const Place place = Lines{text}.place(offset);
    return {{place, {place.line, place.column + 1}}, std::move(message), std::move(help)};
}

std::uint8_t byte_at(std::string_view text, std::size_t offset) {
    return offset < text.size() ? static_cast<std::uint8_t>(text[offset]) : std::uint8_t{0};
}

/// Returns the size of the UTF-8 sequence that begins at `offset`; 0 when it is none (RFC 3629:
/// no overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t utf8_size(std::string_view text, std::size_t offset) {
    const std::uint8_t lead = byte_at(text, offset);
    const std::uint8_t second = byte_at(text, offset + 1);
    const auto continues = [&](std::size_t i) { return (byte_at(text, offset + i) >> 6) == 2; };
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4 || !continues(1)) return 0;
    if (lead < 0xe0) return 2;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || !continues(2))
        return 0;
    if (lead < 0xf0) return 3;
    if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f) || !continues(3))
        return 0;
    return 4;
}

std::optional<SyntaxError> bad_character(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const std::uint8_t byte = byte_at(text, i);
        const std::size_t size = utf8_size(text, i);
        if (size == 0)
            return at(text, i, fmt::format("byte 0x{:02x} is not UTF-8", byte),
                      "save the file in the encoding UTF-8");
        if (byte == '\r' && byte_at(text, i + 1) != '\n')
            return at(text, i, "a carriage return without a line feed after it",
                      "end lines with LF or with CR LF");
        const bool control = byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r';
        if (control || byte == 0x7f)
            return at(text, i, fmt::format("control character 0x{:02x}", byte),
                      fmt::format("remove it, or write \\u{:04x} inside a \"string\"", byte));
        i += size;
    }
    return std::nullopt;
}

/// Walks over a text as TOML's tokens need it: skips strings and comments as a whole.
class Walker {
public:
    explicit Walker(std::string_view text) : text_{text} {}

    /// Moves to the next character outside strings and comments; false at the end. A string
    /// counts as one character, its opening quote.
    bool next() {
        position_ = after_;
        if (position_ >= text_.size()) return false;
        after_ = end_of_token();
        return true;
    }
    [[nodiscard]] char current() const { return text_[position_]; }
    [[nodiscard]] std::size_t position() const { return position_; }
    [[nodiscard]] std::size_t end() const { return after_; }

private:
    std::size_t end_of_token() {
        const std::string_view rest = text_.substr(position_);
        const char first = rest.front();
        if (first == '#') return std::min(text_.find('\n', position_), text_.size());
        if (first != '"' && first != '\'') return position_ + 1;
        const std::string triple(3, first);
        return rest.starts_with(triple) ? end_of_long_string(triple) : end_of_string(first);
    }
    std::size_t end_of_string(char quote) {
        for (std::size_t i = position_ + 1; i < text_.size(); ++i) {
            if (text_[i] == '\n') return i;
            if (text_[i] == quote) return i + 1;
            if (text_[i] == '\\' && quote == '"') ++i;
        }
        return text_.size();
    }
    std::size_t end_of_long_string(std::string_view quotes) {
        for (std::size_t i = position_ + 3; i < text_.size(); ++i) {
            if (text_[i] == '\\' && quotes.front() == '"') {
                ++i;
            } else if (text_.substr(i).starts_with(quotes)) {
                i += 3;  // up to two more quotes belong to the string
                while (i < text_.size() && text_[i] == quotes.front()) ++i;
                return i;
            }
        }
        return text_.size();
    }

    std::string_view text_;
    std::size_t position_ = 0;
    std::size_t after_ = 0;
};

bool is_ascii(char character) {
    return static_cast<unsigned char>(character) < 0x80;
}

std::string character_at(std::string_view text, std::size_t offset) {
    return std::string{text.substr(offset, utf8_size(text, offset))};
}

/// TOML has no such character outside strings and comments; toml++ asks whether it is a space and
/// runs into __builtin_unreachable for most letters (accented Latin, Greek, Cyrillic).
SyntaxError bare_character(std::string_view text, std::size_t offset) {
    const std::string character = character_at(text, offset);
    const bool quote = character == "\u201c" || character == "\u201d" || character == "\u2018" ||
                       character == "\u2019";
    return at(text, offset, fmt::format("`{}` outside a string", character),
              quote ? "write straight quotes: \"text\""
                    : "text needs quotes: \"text\"; so do keys of other than A-Z a-z 0-9 _ -");
}

/// A backslash that ends a line in a multi-line string makes toml++ ask the same of the first
/// character of the next one.
std::optional<SyntaxError> bare_continuation(std::string_view text, const Walker& walker) {
    const std::size_t begin = walker.position();
    const std::string_view token = text.substr(begin, walker.end() - begin);
    if (!token.starts_with(R"(""")")) return std::nullopt;
    for (std::size_t i = 3; i < token.size(); ++i) {
        if (token[i] != '\\') continue;
        const std::size_t next = token.find_first_not_of(" \t\r\n", i + 1);
        if (next == i + 1 && !is_ascii(token[next]))
            return at(text, begin + next, "this is no escape sequence",
                      "write \\\\ for a backslash");
        if (next != token.npos && !is_ascii(token[next]))
            return at(text, begin + next,
                      fmt::format("`{}` first on a line that a backslash joins to the line before",
                                  character_at(token, next)),
                      "begin the line with another character, or join the lines here");
        i += next == i + 1 ? 1 : 0;  // an escaped character, perhaps a backslash
    }
    return std::nullopt;
}

/// Keys of many parts would make the library's recursion as deep as the file is long.
std::optional<SyntaxError> bad_token(std::string_view text) {
    constexpr std::string_view ends_key = "\n,={}[]";
    constexpr std::string_view before_string = " \t\r\n,={}[].";
    std::size_t dots = 0;
    for (Walker walker{text}; walker.next();) {
        const std::size_t i = walker.position();
        const char current = walker.current();
        if (ends_key.find(current) != ends_key.npos) dots = 0;
        if (current == '.' && ++dots >= limits::max_config_key_parts)
            return at(text, i,
                      fmt::format("a key of more than {} parts", limits::max_config_key_parts),
                      "if this is text, put it in quotes");
        if (!is_ascii(current)) return bare_character(text, i);
        if (current != '"' && current != '\'') continue;
        if (i > 0 && before_string.find(text[i - 1]) == before_string.npos)
            return at(text, i, "a quote in the middle of a word",
                      "write \\\" for a quote inside a \"string\"");
        if (auto error = bare_continuation(text, walker)) return error;
    }
    return std::nullopt;
}

}  // namespace

std::optional<SyntaxError> unacceptable(std::string_view text) {
    if (auto error = bad_character(text)) return error;
    return bad_token(text);
}

std::size_t string_start(std::string_view text, std::size_t offset) {
    for (Walker walker{text}; walker.next() && walker.position() <= offset;)
        if (offset < walker.end()) return walker.position();
    return offset;
}

}  // namespace ringfort::config
