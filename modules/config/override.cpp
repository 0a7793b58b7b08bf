// What --set says: keys and values that come after those of the text, and in their place.
module;
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
module ringfort.config;

import :document;

namespace ringfort::config {
namespace {

constexpr std::string_view help = "write KEY=VALUE, as in log.level=debug or master.workers=4";

void shift(Span& span, std::uint32_t lines) noexcept {
    span.begin.line += lines;
    span.end.line += lines;
}

void shift(Node& node, std::uint32_t lines) {
    shift(node.span, lines);
    for (Node& item : node.items) shift(item, lines);
    for (Member& member : node.members) {
        shift(member.key_span, lines);
        shift(member.value, lines);
    }
}

/// Tells whether a value can only be a word: its quotes would not survive a shell without effort.
bool is_word(std::string_view value) noexcept {
    return !value.empty() && std::ranges::all_of(value, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view{"_-./:@+%~"}.find(c) != std::string_view::npos;
    });
}

std::variant<Node, SyntaxError> read_override(const std::string& text) {
    if (auto error = unacceptable(text)) return *std::move(error);
    auto parsed = parse_toml(text);
    const std::size_t equals = text.find('=');
    if (const Node* node = std::get_if<Node>(&parsed)) {
        if (equals != text.npos && !node->members.empty()) return parsed;
        return SyntaxError{{{1, 1}, {1, 1}}, "this sets nothing", "", {}};
    }
    if (equals == text.npos) return parsed;
    const std::string before = text.substr(0, equals + 1);
    const std::size_t begin = text.find_first_not_of(" \t", equals + 1);
    if (begin == text.npos || !is_word(std::string_view{text}.substr(begin))) return parsed;
    auto quoted = parse_toml(before + "\"" + text.substr(begin) + "\"");
    return std::holds_alternative<Node>(quoted) ? quoted : parsed;
}

void merge(Node& into, Node from) {
    for (Member& member : from.members) {
        const auto known = std::ranges::find(into.members, member.key, &Member::key);
        if (known == into.members.end())
            into.members.push_back(std::move(member));
        else if (known->value.kind == Node::Kind::table && member.value.kind == Node::Kind::table)
            merge(known->value, std::move(member.value));
        else
            *known = std::move(member);
    }
}

}  // namespace

void override_values(Node& root, const std::vector<std::string>& overrides,
                     std::uint32_t first_line, Report& report) {
    std::uint32_t line = first_line;
    for (const std::string& text : overrides) {
        auto read = read_override(text);
        if (auto* error = std::get_if<SyntaxError>(&read)) {
            shift(error->where, line - 1);
            report.add(error->where, error->message, std::string{help});
        } else {
            Node& node = std::get<Node>(read);
            shift(node, line - 1);
            merge(root, std::move(node));
        }
        ++line;
    }
}

}  // namespace ringfort::config
