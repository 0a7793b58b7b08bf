#include "documentation.h"

#include <algorithm>
#include <array>

#include "declarations.h"

namespace tidy {
namespace {

/// A declaration longer than this needs a `///` of its own.
constexpr std::size_t max_lines_in_group = 5;

/// The language names this class and its functions.
constexpr std::string_view coroutine_promise = "promise_type";

class Check {
public:
    explicit Check(const Source& source) : source_{source}, lines_{lines_of(source.text)} {}

    Findings run(const std::vector<Declaration>& declarations) {
        space(declarations, false);
        return std::move(findings_);
    }

private:
    std::string_view line(std::size_t number) const {
        return number >= 1 && number <= lines_.size() ? trimmed(lines_[number - 1]) : "";
    }

    static bool exports(const Declaration& declaration) {
        return declaration.head == "export" || declaration.head.starts_with("export ");
    }

    static bool imports_or_declares_module(const Declaration& declaration) {
        return std::ranges::any_of(
            std::array{"module", "import", "export module", "export import"},
            [&](std::string_view word) { return declaration.head.starts_with(word); });
    }

    static bool short_enough(const Declaration& declaration) {
        return declaration.last - declaration.first < max_lines_in_group;
    }

    bool has_comment(const Declaration& declaration) const {
        if (line(declaration.first - 1).starts_with("///")) return true;
        return line(declaration.first).find("///<") != std::string_view::npos ||
               line(declaration.last).find("///<") != std::string_view::npos;
    }

    /// `before` is the declaration above, null if there is none; `covered` says whether it was.
    bool is_covered(const Declaration& declaration, const Declaration* before, bool covered) const {
        if (has_comment(declaration)) return true;
        return before != nullptr && covered && before->last + 1 == declaration.first &&
               short_enough(*before) && short_enough(declaration);
    }

    void space(const std::vector<Declaration>& declarations, bool exported) {
        const Declaration* before = nullptr;
        bool covered = false;
        for (const auto& declaration : declarations) {
            if (imports_or_declares_module(declaration)) continue;
            const bool visible = exported || exports(declaration);
            if (declaration.kind == Kind::name_space) {
                if (!declaration.name.ends_with("detail")) space(declaration.members, visible);
                before = nullptr;
                continue;
            }
            covered = is_covered(declaration, before, covered);
            before = &declaration;
            if (!visible) continue;
            if (!covered && !explains_itself(declaration, {})) report(declaration);
            if (declaration.kind == Kind::type && !names_no_type(declaration)) members(declaration);
        }
    }

    /// A specialisation does what its template says, and the language says what a promise does.
    static bool names_no_type(const Declaration& type) {
        const auto head = std::string_view{type.head}.substr(0, type.head.find(" : "));
        return type.name == coroutine_promise || head.find(" " + type.name + "<") != head.npos;
    }

    void members(const Declaration& type) {
        const Declaration* before = nullptr;
        bool covered = false;
        for (const auto& member : type.members) {
            covered = is_covered(member, before, covered);
            before = &member;
            if (member.kind == Kind::function && member.is_public && !covered &&
                !explains_itself(member, type.name))
                report(member);
        }
    }

    static bool explains_itself(const Declaration& declaration, std::string_view type) {
        static constexpr std::array awaitable{
            std::string_view{"await_ready"}, std::string_view{"await_suspend"},
            std::string_view{"await_resume"}, std::string_view{"await_transform"}};
        const std::string_view head = declaration.head;
        if (declaration.kind == Kind::type)
            return !declaration.has_body || names_no_type(declaration);
        if (has_word(head, "friend") || has_word(head, "static_assert")) return true;
        if (head.starts_with("using namespace") || names_what_is_declared_elsewhere(head))
            return true;
        if (declaration.kind != Kind::function) return false;
        return declaration.name == type || declaration.name.starts_with('~') ||
               declaration.name.starts_with("operator") || head.ends_with("= default;") ||
               head.ends_with("= delete;") || is_deduction_guide(declaration) ||
               std::ranges::find(awaitable, declaration.name) != awaitable.end();
    }

    /// "using std::name;": a using-declaration's name is a qualified one, an alias's is not.
    static bool names_what_is_declared_elsewhere(std::string_view head) {
        static constexpr std::string_view word = "using ";
        if (!head.starts_with(word)) return false;
        head = trimmed(head.substr(word.size()));
        return head.substr(0, head.find(' ')).find("::") != head.npos;
    }

    /// "Name(...) -> Name<...>;" with nothing but template<> before the name.
    static bool is_deduction_guide(const Declaration& declaration) {
        const std::string_view head = declaration.head;
        const auto begin = head.find(declaration.name + "(");
        if (begin == head.npos || head.find(") ->", begin) == head.npos) return false;
        const auto prefix = trimmed(head.substr(0, begin));
        return prefix.empty() || prefix.ends_with('>') || prefix.ends_with("explicit");
    }

    void report(const Declaration& declaration) {
        auto name = declaration.name.empty()
                        ? std::string{declaration.head.substr(0, declaration.head.find('\n'))}
                        : declaration.name;
        findings_.push_back({source_.path, declaration.first, "document " + name + " with a ///"});
    }

    const Source& source_;
    std::vector<std::string_view> lines_;
    Findings findings_;
};

}  // namespace

Findings check_documentation(const Source& interface) {
    return Check{interface}.run(declarations_of(code_of(interface.text)));
}

}  // namespace tidy
