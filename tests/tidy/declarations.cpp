#include "declarations.h"

#include <algorithm>
#include <array>

#include "source.h"

namespace tidy {
namespace {

/// Returns the place behind the bracket that closes the one at `open`.
std::size_t behind_bracket(std::string_view code, std::size_t open, char left, char right) {
    std::size_t depth = 0;
    for (auto at = open; at < code.size(); ++at) {
        if (code[at] == left) ++depth;
        if (code[at] == right && --depth == 0) return at + 1;
    }
    return code.size();
}

/// Returns the place behind the `>` that closes the `<` at `open`.
std::size_t behind_angle(std::string_view code, std::size_t open) {
    std::size_t depth = 0;
    for (auto at = open; at < code.size(); ++at) {
        if (code[at] == '(') at = behind_bracket(code, at, '(', ')') - 1;
        if (code[at] == '<') ++depth;
        if (code[at] == '>' && --depth == 0) return at + 1;
    }
    return code.size();
}

std::string_view first_word(std::string_view head) {
    return head.substr(
        0, static_cast<std::size_t>(std::ranges::find_if_not(head, is_name) - head.begin()));
}

std::string_view last_word(std::string_view head) {
    head = trimmed(head);
    auto begin = head.size();
    while (begin > 0 && is_name(head[begin - 1])) --begin;
    return head.substr(begin);
}

/// Removes what may stand before the words that tell the kind: export, template<>, attributes.
std::string_view without_prefix(std::string_view head) {
    for (;;) {
        head = trimmed(head);
        if (head.starts_with("[["))
            head.remove_prefix(behind_bracket(head, 0, '[', ']'));
        else if (const auto word = first_word(head);
                 word == "export" || word == "inline" || word == "typedef")
            head.remove_prefix(word.size());
        else if (word == "template" && head.find('<') != head.npos)
            head.remove_prefix(behind_angle(head, head.find('<')));
        else
            return head;
    }
}

bool is_type_word(std::string_view word) {
    return word == "class" || word == "struct" || word == "union" || word == "enum";
}

/// Returns the name behind class, struct, union or enum.
std::string type_name(std::string_view head) {
    std::string_view name;
    while (!head.empty() && (head[0] != ':' || head.starts_with("::"))) {
        if (head.starts_with("::")) {
            head.remove_prefix(2);
        } else if (head.starts_with("[[")) {
            head.remove_prefix(behind_bracket(head, 0, '[', ']'));
        } else if (head[0] == '(') {
            head.remove_prefix(behind_bracket(head, 0, '(', ')'));
        } else if (head[0] == '<') {
            head.remove_prefix(behind_angle(head, 0));
        } else if (const auto word = first_word(head); !word.empty()) {
            if (!is_type_word(word) && word != "final" && word != "alignas") name = word;
            head.remove_prefix(word.size());
        } else {
            head.remove_prefix(1);
        }
    }
    return std::string{name};
}

/// Returns the name before the parameter list; empty if there is no parameter list.
std::string function_name(std::string_view head) {
    static constexpr std::array not_names{
        std::string_view{"requires"}, std::string_view{"noexcept"}, std::string_view{"explicit"},
        std::string_view{"decltype"}, std::string_view{"alignas"},  std::string_view{"sizeof"},
    };
    if (const auto at = head.find("operator"); at != head.npos && has_word(head, "operator"))
        return std::string{trimmed(head.substr(at, head.find('(', at + 8) - at))};
    for (std::size_t at = 0; at < head.size();) {
        if (head.substr(at).starts_with("[[")) {
            at = behind_bracket(head, at, '[', ']');
        } else if (head[at] == '{') {
            at = behind_bracket(head, at, '{', '}');
        } else if (head[at] == '<') {
            at = behind_angle(head, at);
        } else if (head[at] == '=') {
            return {};
        } else if (head[at] == '(') {
            const auto name = last_word(head.substr(0, at));
            const auto begin = at - name.size();
            if (!name.empty() && is_name(head[at - 1]) &&
                std::ranges::find(not_names, name) == not_names.end())
                return (begin > 0 && head[begin - 1] == '~' ? "~" : "") + std::string{name};
            at = behind_bracket(head, at, '(', ')');
        } else {
            ++at;
        }
    }
    return {};
}

class Parser {
public:
    explicit Parser(std::string_view code) : code_{code} {}

    std::vector<Declaration> scope(bool is_public) {
        std::vector<Declaration> found;
        begin_head();
        while (at_ < code_.size() && code_[at_] != '}') {
            if (code_[at_] == ';') {
                ++at_;
                end_declaration(found, plain(is_public));
            } else if (code_[at_] == '{') {
                open(found, is_public);
            } else if (code_[at_] == '(') {
                at_ = behind_bracket(code_, at_, '(', ')');
            } else if (code_[at_] == ':' && is_access(trimmed(head()))) {
                is_public = trimmed(head()) == "public";
                ++at_;
                begin_head();
            } else {
                ++at_;
            }
        }
        return found;
    }

private:
    static bool is_access(std::string_view head) {
        return head == "public" || head == "private" || head == "protected";
    }

    void begin_head() {
        while (at_ < code_.size() && (code_[at_] == ' ' || code_[at_] == '\n')) ++at_;
        head_begin_ = at_;
    }

    std::string_view head() const { return code_.substr(head_begin_, at_ - head_begin_); }

    std::size_t line_at(std::size_t place) {
        for (; counted_ < place; ++counted_)
            if (code_[counted_] == '\n') ++line_;
        for (; counted_ > place; --counted_)
            if (code_[counted_ - 1] == '\n') --line_;
        return line_;
    }

    Declaration declaration(Kind kind, std::string name, bool is_public) {
        return {.kind = kind,
                .head = std::string{trimmed(head())},
                .name = std::move(name),
                .first = line_at(head_begin_),
                .is_public = is_public,
                .members = {}};
    }

    void end_declaration(std::vector<Declaration>& found, Declaration declaration) {
        declaration.last = line_at(at_ - 1);
        if (!declaration.head.empty() && declaration.head != ";")
            found.push_back(std::move(declaration));
        begin_head();
    }

    /// Makes the declaration that a semicolon has ended.
    Declaration plain(bool is_public) {
        const auto body = without_prefix(head());
        if (is_type_word(first_word(body)) && body.find('(') == body.npos)
            return declaration(Kind::type, type_name(body.substr(0, body.size() - 1)), is_public);
        const auto word = first_word(body);
        if (word == "using" || word == "static_assert" || word == "friend" || word == "concept" ||
            word == "import" || word == "module") {
            const auto rest = trimmed(body.substr(word.size()));
            return declaration(Kind::other, std::string{first_word(rest)}, is_public);
        }
        auto name = function_name(body);
        const auto kind = name.empty() ? Kind::other : Kind::function;
        return declaration(kind, std::move(name), is_public);
    }

    /// Reports whether the brace here opens an initializer or a requires-expression, which the
    /// declaration goes on after.
    bool is_expression() const {
        if (at_ > 0 && code_[at_ - 1] != ' ' && code_[at_ - 1] != '\n') return true;
        auto before = trimmed(head());
        if (before.ends_with('=') || last_word(before) == "requires") return true;
        if (first_word(without_prefix(before)) == "concept") return true;
        if (!before.ends_with(')')) return false;
        std::size_t depth = 0;
        auto begin = before.size();
        do {
            --begin;
            depth += before[begin] == ')' ? 1U : 0U;
            depth -= before[begin] == '(' ? 1U : 0U;
        } while (depth > 0 && begin > 0);
        return last_word(before.substr(0, begin)) == "requires";
    }

    void open(std::vector<Declaration>& found, bool is_public) {
        if (is_expression()) {
            at_ = behind_bracket(code_, at_, '{', '}');
            return;
        }
        const auto body = without_prefix(head());
        const auto word = first_word(body);
        if (word == "namespace" || word == "extern" || trimmed(head()) == "export") {
            auto made = declaration(Kind::name_space,
                                    std::string{trimmed(body.substr(word.size()))}, is_public);
            enter(made, true);
            end_declaration(found, std::move(made));
        } else if (is_type_word(word) && function_name(body).empty()) {
            auto made = declaration(Kind::type, type_name(body), is_public);
            made.has_body = true;
            if (word == "enum")
                at_ = behind_bracket(code_, at_, '{', '}');
            else
                enter(made, word != "class");
            while (at_ < code_.size() && code_[at_] != ';') ++at_;
            ++at_;
            end_declaration(found, std::move(made));
        } else {
            auto made = declaration(Kind::function, function_name(body), is_public);
            made.has_body = true;
            at_ = behind_bracket(code_, at_, '{', '}');
            end_declaration(found, std::move(made));
        }
    }

    void enter(Declaration& into, bool members_are_public) {
        ++at_;
        into.members = scope(members_are_public);
        ++at_;
    }

    std::string_view code_;
    std::size_t at_ = 0;
    std::size_t head_begin_ = 0;
    std::size_t counted_ = 0;
    std::size_t line_ = 1;
};

}  // namespace

std::vector<Declaration> declarations_of(std::string_view code) {
    return Parser{code}.scope(true);
}

}  // namespace tidy
