// The one unit that sees the TOML library.
//
// toml++ 3.3 and 3.4 meet some malformed text (a table header that begins with "&") with an
// assertion and, where assertions are off, with undefined behaviour. Here they are on in every
// build, and a failed one is thrown: it becomes a syntax error like any other. The library is
// compiled into this unit under a name of its own, so that the distribution's shared build, or
// another one in the application, cannot take its place in the link.
module;
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ringfort::config {
struct FailedAssertion {};
}  // namespace ringfort::config

#pragma push_macro("NDEBUG")
#undef NDEBUG
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 32
#define TOML_ASSERT(...) \
    ((__VA_ARGS__) ? static_cast<void>(0) : throw ::ringfort::config::FailedAssertion{})
#define toml ringfort_config_toml
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"
#include <toml++/toml.h>
#pragma clang diagnostic pop
#undef toml
#pragma pop_macro("NDEBUG")
module ringfort.config;

import :document;

namespace library = ringfort_config_toml;

namespace ringfort::config {
namespace {

Place place(const library::source_position& position) {
    return {static_cast<std::uint32_t>(position.line), static_cast<std::uint32_t>(position.column)};
}

Span span(const library::source_region& region) {
    return {place(region.begin), place(region.end)};
}

/// Returns the header "[name]" or "[[name]]" that begins a table; the library stretches a
/// table's region over all its values.
Span header(Span table, const Lines& lines) {
    const std::string_view rest = lines.text({table.begin, {table.begin.line + 1, 1}});
    if (!rest.starts_with('[')) return table;
    const std::size_t end = rest.find(rest.starts_with("[[") ? "]]" : "]");
    if (end == rest.npos) return table;
    const std::size_t bytes = end + (rest.starts_with("[[") ? 2 : 1);
    const auto columns =
        std::count_if(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(bytes),
                      [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; });
    const Place begin = table.begin;
    return {begin, {begin.line, begin.column + static_cast<std::uint32_t>(columns)}};
}

Node node(const library::node& from, const Lines& lines);

void copy_members(const library::table& from, const Lines& lines, Node& to) {
    to.kind = Node::Kind::table;
    if (!from.is_inline()) to.span = header(to.span, lines);
    for (const auto& [key, value] : from)
        to.members.push_back({std::string{key.str()}, span(key.source()), node(value, lines)});
    std::sort(to.members.begin(), to.members.end(),
              [](const Member& a, const Member& b) { return a.key_span.begin < b.key_span.begin; });
}

void copy_items(const library::array& from, const Lines& lines, Node& to) {
    to.kind = Node::Kind::array;
    for (const library::node& item : from) to.items.push_back(node(item, lines));
    if (!to.items.empty()) to.span = std::min(to.span, to.items.front().span);
}

Node node(const library::node& from, const Lines& lines) {
    Node to;
    to.span = span(from.source());
    if (const auto* table = from.as_table()) {
        copy_members(*table, lines, to);
    } else if (const auto* array = from.as_array()) {
        copy_items(*array, lines, to);
    } else if (const auto* string = from.as_string()) {
        to.kind = Node::Kind::string;
        to.string = string->get();
    } else if (const auto* integer = from.as_integer()) {
        to.kind = Node::Kind::integer;
        to.integer = integer->get();
    } else if (const auto* boolean = from.as_boolean()) {
        to.kind = Node::Kind::boolean;
        to.boolean = boolean->get();
    } else {
        to.kind = from.is_floating_point() ? Node::Kind::number : Node::Kind::date;
    }
    return to;
}

bool fails_an_assertion(std::string_view text) {
    try {
        static_cast<void>(library::parse(text));
    } catch (const FailedAssertion&) {
        return true;
    } catch (const library::parse_error&) {
    }
    return false;
}

/// Finds the line that breaks the library. It reads from front to back, so everything up to a
/// line breaks it exactly from that line on.
SyntaxError broken_at(const Lines& lines) {
    std::uint32_t good = 0;
    std::uint32_t bad = lines.count();
    while (bad - good > 1) {
        const std::uint32_t middle = good + (bad - good) / 2;
        (fails_an_assertion(lines.before(middle + 1)) ? bad : good) = middle;
    }
    const std::string_view line = lines.line(bad);
    std::size_t begin = line.find_first_not_of(" \t");
    if (begin == line.npos) begin = 0;
    const std::size_t offset = lines.before(bad).size();
    if (!line.substr(begin).starts_with('['))
        return {{lines.place(offset + begin), lines.place(offset + line.size())},
                "this is not TOML",
                "",
                {}};
    std::size_t name = begin + (line.substr(begin).starts_with("[[") ? 2 : 1);
    name = std::min(line.find_first_not_of(" \t", name), line.size());
    const Place where = lines.place(offset + name);
    return {{where, {where.line, where.column + 1}},
            "expected a table's name",
            "write [name]; names are made of letters, digits, _ and -",
            {}};
}

}  // namespace

std::variant<Node, SyntaxError> parse_toml(std::string_view text) {
    const Lines lines{text};
    try {
        const library::table root = library::parse(text);
        Node result;
        copy_members(root, lines, result);
        result.span = {};
        return result;
    } catch (const library::parse_error& error) {
        return explain(error.description(), place(error.source().begin), text);
    } catch (const FailedAssertion&) {
        return broken_at(lines);
    }
}

}  // namespace ringfort::config
