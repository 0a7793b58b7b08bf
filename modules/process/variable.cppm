export module ringfort.process:variable;

import ringfort.std;

// Not exported: what a service manager says by the environment.
namespace ringfort::process {

/// Takes a variable out of the environment; empty when it is not set.
[[nodiscard]] std::string take_variable(const char* name);
/// Reads a decimal number; nothing for any other text.
[[nodiscard]] std::optional<std::int64_t> number(const std::string& text) noexcept;

}  // namespace ringfort::process
