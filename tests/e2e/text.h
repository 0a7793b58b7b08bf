/// What is read out of what programs print.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace e2e {

[[nodiscard]] inline bool has(std::string_view text, std::string_view part) {
    return text.find(part) != text.npos;
}

/// Returns the sum of the numbers in front of a word, such as " accepted".
[[nodiscard]] inline std::uint64_t counted(const std::string& text, std::string_view word) {
    std::uint64_t sum = 0;
    for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
        const auto begin = text.rfind(' ', at - 1) + 1;
        sum += std::stoull(text.substr(begin, at - begin));
    }
    return sum;
}

/// Returns how many connections the workers in an answer to `ctl status` have accepted together.
[[nodiscard]] inline std::uint64_t accepted(const std::string& status) {
    return counted(status, " accepted");
}

}  // namespace e2e
