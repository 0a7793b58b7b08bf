// Going on behind a syntax error. A line that is wrong is blanked and the text is parsed again,
// which is safe only when the line is a statement of its own: everything in front of it parses,
// and the line does not leave a string or an array open. Otherwise the first error is all there
// is to say. A wrong table header takes its table with it.
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

struct Attempt {
    std::optional<Node> root;
    std::optional<SyntaxError> error;
};

Attempt attempt(std::string_view text) {
    if (auto error = unacceptable(text)) return {{}, std::move(error)};
    auto parsed = parse_toml(text);
    if (auto* error = std::get_if<SyntaxError>(&parsed)) return {{}, std::move(*error)};
    return {std::move(std::get<Node>(parsed)), {}};
}

bool is_header(std::string_view line) {
    const std::size_t first = line.find_first_not_of(" \t");
    return first != line.npos && line[first] == '[';
}

bool is_blank(std::string_view line) {
    return line.find_first_not_of(" \t") == line.npos;
}

/// Blanks a line, and behind a wrong header all lines up to the next one. Line breaks stay.
void blank_statement(std::string& text, std::uint32_t number) {
    const Lines lines{text};
    std::uint32_t last = number;
    if (is_header(lines.line(number)))
        while (last < lines.count() && !is_header(lines.line(last + 1))) ++last;
    const std::size_t begin = lines.before(number).size();
    const std::size_t end = lines.before(last + 1).size();
    for (std::size_t i = begin; i < end; ++i)
        if (text[i] != '\n') text[i] = ' ';
}

/// Returns the table whose header is the last one in the text.
const Node& last_table(const Node& root) {
    const Node* last = &root;
    const auto visit = [&](const auto& self, const Node& node) -> void {
        if (node.kind == Node::Kind::table && last->span.begin < node.span.begin) last = &node;
        for (const Member& member : node.members) {
            const bool tables = member.value.kind == Node::Kind::array;
            if (member.value.kind == Node::Kind::table) self(self, member.value);
            if (tables)
                for (const Node& item : member.value.items) self(self, item);
        }
    };
    visit(visit, root);
    return *last;
}

std::optional<Span> find_key(const Node& table, std::string_view dotted) {
    const Node* current = &table;
    std::optional<Span> found;
    while (current != nullptr && !dotted.empty()) {
        const std::string_view part = dotted.substr(0, dotted.find('.'));
        dotted.remove_prefix(std::min(dotted.size(), part.size() + 1));
        if (current->kind == Node::Kind::array && !current->items.empty())
            current = &current->items.back();
        const auto member = std::find_if(current->members.begin(), current->members.end(),
                                         [&](const Member& m) { return m.key == part; });
        if (member == current->members.end()) return std::nullopt;
        found = member->key_span;
        current = &member->value;
    }
    return found;
}

/// Finds the earliest error of a text, with what stands in front of it, parsed.
struct Earliest {
    SyntaxError error;
    std::optional<Node> before;
};

Earliest earliest(std::string_view text, SyntaxError error) {
    const Lines lines{text};
    while (true) {
        Attempt front = attempt(lines.before(error.where.begin.line));
        if (!front.error || front.error->at_end ||
            front.error->where.begin.line >= error.where.begin.line)
            return {std::move(error), std::move(front.root)};
        error = std::move(*front.error);
    }
}

}  // namespace

Document read_document(std::string_view text) {
    Document document;
    std::string work{text};
    while (true) {
        Attempt whole = attempt(work);
        if (!whole.error) {
            document.root = std::move(whole.root);
            return document;
        }
        Earliest found = earliest(work, std::move(*whole.error));
        const std::uint32_t number = found.error.where.begin.line;
        const std::string line{Lines{work}.line(number)};
        if (!found.error.redefined.empty() && found.before) {
            const Node& table = is_header(line) ? *found.before : last_table(*found.before);
            found.error.first = find_key(table, found.error.redefined);
        }
        document.errors.push_back(std::move(found.error));
        const Attempt alone = attempt(line + "\n");
        const bool open = alone.error && alone.error->at_end;
        if (!found.before || open || is_blank(line) ||
            document.errors.size() >= limits::max_config_syntax_errors)
            return document;
        blank_statement(work, number);
    }
}

}  // namespace ringfort::config
