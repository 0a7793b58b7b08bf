#include "sizes.h"

#include <algorithm>
#include <array>

#include "declarations.h"

namespace tidy {
namespace {

void check_functions(const Source& source, const std::vector<Declaration>& declarations,
                     Findings& findings) {
    for (const auto& declaration : declarations) {
        check_functions(source, declaration.members, findings);
        const auto lines = declaration.last - declaration.first + 1;
        if (declaration.kind != Kind::function || lines <= max_function_lines) continue;
        findings.push_back({source.path, declaration.first,
                            "split " + declaration.name + ": its " + std::to_string(lines) +
                                " lines are over " + std::to_string(max_function_lines)});
    }
}

}  // namespace

Findings check_file_length(const Source& source) {
    const auto lines = lines_of(source.text).size();
    if (lines <= max_file_lines) return {};
    return {{source.path, max_file_lines + 1,
             "split this file: its " + std::to_string(lines) + " lines are over " +
                 std::to_string(max_file_lines)}};
}

Findings check_function_lengths(const Source& source) {
    Findings findings;
    check_functions(source, declarations_of(code_of(source.text)), findings);
    return findings;
}

Findings check_columns(const Source& source) {
    Findings findings;
    std::size_t number = 0;
    for (const auto line : lines_of(source.text)) {
        ++number;
        const auto columns = static_cast<std::size_t>(std::ranges::count_if(
            line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
        if (columns > max_columns)
            findings.push_back({source.path, number,
                                "break this line: its " + std::to_string(columns) +
                                    " columns are over " + std::to_string(max_columns)});
    }
    return findings;
}

Findings check_file_name(const Source& source) {
    static constexpr std::array empty_words{
        std::string_view{"util"},   std::string_view{"utils"},   std::string_view{"utility"},
        std::string_view{"common"}, std::string_view{"helper"},  std::string_view{"helpers"},
        std::string_view{"misc"},   std::string_view{"manager"},
    };
    for (const auto word : empty_words)
        if (has_word(source.stem(), word) || source.stem().starts_with(std::string{word} + "_") ||
            source.stem().ends_with("_" + std::string{word}))
            return {{source.path, 1,
                     "name this file after the concept in it, not '" + std::string{word} + "'"}};
    return {};
}

}  // namespace tidy
