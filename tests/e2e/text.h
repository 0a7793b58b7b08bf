/// What is read out of what programs print.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace e2e {

[[nodiscard]] inline bool has(std::string_view text, std::string_view part) {
    return text.find(part) != text.npos;
}

/// Returns how many connections the workers in an answer to `ctl status` have accepted together.
[[nodiscard]] inline std::uint64_t accepted(const std::string& status) {
    std::uint64_t sum = 0;
    constexpr std::string_view heading = " accepted";
    for (auto at = status.find(heading); at != status.npos; at = status.find(heading, at + 1)) {
        const auto begin = status.rfind(' ', at - 1) + 1;
        sum += std::stoull(status.substr(begin, at - begin));
    }
    return sum;
}

}  // namespace e2e
