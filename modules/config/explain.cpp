// The library's messages in our words. They are matched by their text: one that changes is shown
// as it is, which is worse but not wrong; the tests notice.
module;
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
module ringfort.config;

import :document;

namespace ringfort::config {
namespace {

/// What the library said, and where in the text.
struct Verdict {
    std::string_view scope;    ///< what it was parsing: "array"
    std::string_view message;  ///< without what it saw
    std::string_view saw;      ///< the character it did not expect, escaped; may be empty
    Place where;
    std::string_view text;
    std::size_t offset;  ///< of `where` in `text`; the size at the end
};

bool has(std::string_view text, std::string_view part) {
    return text.find(part) != text.npos;
}

Verdict take_apart(std::string_view message, Place where, std::string_view text) {
    Verdict result{{}, message, {}, where, text, text.size()};
    constexpr std::string_view intro = "Error while parsing ";
    const std::size_t colon = message.find(": ");
    if (message.starts_with(intro) && colon != message.npos) {
        result.scope = message.substr(intro.size(), colon - intro.size());
        result.message = message.substr(colon + 2);
    }
    const std::size_t saw = result.message.find(", saw '");
    if (saw != message.npos && result.message.ends_with('\'')) {
        result.saw = result.message.substr(saw + 7);
        result.saw.remove_suffix(1);
        result.message = result.message.substr(0, saw);
    }
    const Lines lines{text};
    const std::size_t line = lines.before(where.line).size();
    const std::string_view head = lines.text({{where.line, 1}, where});
    result.offset = std::min(line + head.size(), text.size());
    return result;
}

Span bytes(std::string_view text, std::size_t begin, std::size_t end) {
    const Lines lines{text};
    return {lines.place(begin), lines.place(end)};
}

Span one(Place where) {
    return {where, {where.line, where.column + 1}};
}

/// Returns the span of the value that covers the complaint, quotes and brackets apart.
std::pair<std::size_t, std::size_t> token(const Verdict& c) {
    constexpr std::string_view delimiters = " \t\r\n,=[]{}#";
    const std::size_t line = Lines{c.text}.before(c.where.line).size();
    std::size_t begin = c.offset;
    while (begin > line && delimiters.find(c.text[begin - 1]) == delimiters.npos) --begin;
    const std::size_t end = std::min(c.text.find_first_of(delimiters, c.offset), c.text.size());
    return {begin, end};
}

std::string lower(std::string_view text) {
    std::string out{text};
    std::transform(out.begin(), out.end(), out.begin(), [](char ch) {
        return static_cast<char>(std::tolower(static_cast<unsigned char>(ch)));
    });
    return out;
}

SyntaxError explain_value(const Verdict& c) {
    const auto [begin, end] = token(c);
    const std::string word{c.text.substr(begin, end - begin)};
    const Span where = word.empty() ? one(c.where) : bytes(c.text, begin, end);
    const std::string small = lower(word);
    const auto error = [&](std::string message, std::string help) {
        return SyntaxError{where, std::move(message), std::move(help), {}};
    };
    if (has(c.message, "nested value depth"))
        return error("arrays and tables are nested too deeply", "");
    if (has(c.message, "representable")) return error(fmt::format("{} is too large", word), "");
    if (has(c.message, "leading zeroes"))
        return error(fmt::format("`{}` begins with a zero", word),
                     "write 0o in front of an octal number, no zero in front of others");
    if (has(c.message, "underscores"))
        return error(fmt::format("`{}`: an underscore must stand between digits", word), "");
    if (small == "true" || small == "false")
        return error(fmt::format("`{}` is not a value", word), "write " + small);
    constexpr std::array<std::string_view, 4> booleans{"yes", "no", "on", "off"};
    if (std::find(booleans.begin(), booleans.end(), small) != booleans.end())
        return error(fmt::format("`{}` is not a value", word), "write true or false");
    if (word.empty()) return error("a value is missing", "");
    const std::size_t behind = std::min(c.text.find_first_not_of(" \t", end), c.text.size());
    if (behind < c.text.size() && c.text[behind] == '=')
        return error(fmt::format("`{}` stands inside an array that is not closed", word),
                     "end the array with ]");
    const bool digit = word.front() >= '0' && word.front() <= '9';
    const std::size_t number = word.find_first_not_of("0123456789_");
    if (digit && number != word.npos && word.find_first_of(":.-/", number) == word.npos)
        return error(
            fmt::format("`{}` is not a value", word),
            fmt::format("a size is text, \"{}\"; a time is an integer of milliseconds", word));
    if (has(word, "\"") || has(word, "'")) return error("`" + word + "` is not a value", "");
    return error(fmt::format("`{}` is not a value", word),
                 fmt::format("text needs quotes: \"{}\"", word));
}

SyntaxError explain_string(const Verdict& c) {
    if (has(c.message, "unknown escape") || has(c.message, "escape sequence '\\")) {
        Span where = one(c.where);
        if (where.begin.column > 1) --where.begin.column;
        return {where,
                "this is no escape sequence",
                "write \\\\ for a backslash, or use 'single quotes', which escape nothing",
                {}};
    }
    const bool ended = has(c.message, "end-of-file");
    if (!ended && !has(c.message, "control characters"))
        return {one(c.where), std::string{c.message}, "", {}};
    const std::size_t begin = string_start(c.text, c.offset == 0 ? 0 : c.offset - 1);
    const std::string_view rest = c.text.substr(begin);
    const bool triple = rest.starts_with("\"\"\"") || rest.starts_with("'''");
    const std::string quotes{rest.substr(0, triple ? 3 : 1)};
    const std::size_t end = std::min(c.text.find_first_of("\r\n", begin), c.text.size());
    const std::string help =
        triple ? fmt::format("end it with {}", quotes)
               : fmt::format("end it with {0}, or use {0}{0}{0} for text of several lines", quotes);
    return {bytes(c.text, begin, end), "the string is not closed", help, {}, {}, ended};
}

std::string_view quoted(std::string_view message) {
    const std::size_t open = message.find('\'');
    const std::size_t close = message.rfind('\'');
    if (open == message.npos || close <= open) return {};
    return message.substr(open + 1, close - open - 1);
}

SyntaxError explain_redefinition(const Verdict& c) {
    const Lines lines{c.text};
    const std::string_view line = lines.line(c.where.line);
    const std::string key{quoted(c.message)};
    const std::size_t begin = std::min(line.find_first_not_of(" \t["), line.size());
    const std::size_t offset = lines.before(c.where.line).size() + begin;
    const bool found = !key.empty() && line.substr(begin).starts_with(key);
    const Span where = found ? bytes(c.text, offset, offset + key.size()) : one(c.where);
    if (has(c.message, "into existing inline table"))
        return {where, fmt::format("`{}` adds to a table that is closed by its braces", key),
                "write the table as [name], or put everything between its braces", key};
    if (key.empty()) return {where, "this key is already a value, not a table", "", {}};
    const bool header = c.scope == "table header";
    if (header && has(c.message, "as array-of-tables"))
        return {where, fmt::format("`{}` is already defined, and not as [[{}]]", key, key),
                fmt::format("write every one of them as [[{}]]", key), key};
    if (header && has(c.message, "array"))
        return {where, fmt::format("`{}` is an array of tables", key),
                fmt::format("write [[{}]] to add one", key), key};
    return {where, fmt::format("`{}` is defined twice", key),
            header ? "put all keys of a table below one header" : "remove one of them", key};
}

/// Says what the library saw, in words.
std::string seen(const Verdict& c) {
    if (c.saw.empty() || c.saw == "\\n" || c.saw == "\n" || c.saw == "\\r" || c.saw == "\r")
        return "the end of the line";
    return fmt::format("`{}`", c.saw);
}

SyntaxError explain_statement(const Verdict& c) {
    const Span where = one(c.where);
    const bool ended = has(c.message, "end-of-file");
    const bool header = c.scope == "table header";
    const bool key_value = c.scope == "key-value pair";
    const auto error = [&](std::string message, std::string help) {
        return SyntaxError{where, std::move(message), std::move(help), {}, {}, false};
    };
    if (header && (ended || has(c.message, "expected ']'")))
        return error(fmt::format("expected `]`, not {}", seen(c)),
                     "write [table] or [[array-of-tables]]");
    if (header && has(c.message, "blank bare keys"))
        return error("expected a table's name", "write [name]");
    if (header && has(c.message, "contiguous"))
        return error("the two brackets of [[ and ]] must stand together", "");
    if (has(c.message, "comment or whitespace"))
        return error(fmt::format("expected the end of the line, not {}", seen(c)),
                     "write every key and every [table] on a line of its own");
    if (key_value && has(c.message, "expected '='"))
        return error(fmt::format("expected `=` behind the key, not {}", seen(c)),
                     "write key = value");
    if (key_value && (ended || has(c.message, "expected value"))) {
        const bool equals = has(Lines{c.text}.line(c.where.line), "=");
        return equals ? error("the value is missing", "write key = value")
                      : error("expected `=` behind the key", "write key = value");
    }
    if (c.scope == "inline table" && (c.saw == "\\n" || c.saw == "\n"))
        return error("an inline table must end on the line it begins on",
                     "close it with }, or write it as a [table]");
    if (has(c.message, "expected bare key"))
        return error(fmt::format("a key cannot begin with {}", seen(c)),
                     "keys are made of A-Z a-z 0-9 _ -; others need quotes");
    if (has(c.message, "dangling comma"))
        return error("a comma in front of `}`", "remove the comma");
    SyntaxError result = error(std::string{c.message}, "");
    if (!c.saw.empty()) result.message += ", not " + seen(c);
    if (ended)
        result.message =
            fmt::format("the file ends inside {} {}", c.scope == "array" ? "an" : "the", c.scope);
    std::replace(result.message.begin(), result.message.end(), '\'', '`');
    result.at_end = ended;
    return result;
}

}  // namespace

SyntaxError explain(std::string_view library_message, Place where, std::string_view text) {
    const Verdict c = take_apart(library_message, where, text);
    constexpr std::array<std::string_view, 8> values{
        "value", "boolean", "integer", "floating-point", "date", "time", "date-time", "offset"};
    if (has(c.message, "cannot redefine") || has(c.message, "cannot insert"))
        return explain_redefinition(c);
    if (has(c.scope, "string")) return explain_string(c);
    if (c.scope == "unicode scalar sequence")
        return {one(c.where), std::string{c.message}, "write \\u and four hexadecimal digits", {}};
    for (const std::string_view value : values)
        if (c.scope.ends_with(value)) return explain_value(c);
    return explain_statement(c);
}

}  // namespace ringfort::config
