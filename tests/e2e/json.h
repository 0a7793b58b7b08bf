#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace e2e {

/// Parses one JSON object without nested values, by the letter of RFC 8259; empty when it is
/// anything else. Strings are returned decoded, numbers and literals as they are written.
[[nodiscard]] std::optional<std::map<std::string, std::string>> parse_flat_json(
    std::string_view text);

}  // namespace e2e
