export module load:target;

import ringfort;
import ringfort.std;

export namespace load {

/// Where a load goes to, or why that cannot be said, for people.
using Target = std::variant<ringfort::Address, std::string>;

/// Finds the address of "HOST:PORT" (a name or an address in digits; "[::1]:7000" for IPv6) or
/// "unix:PATH". Blocks while a name is being resolved.
[[nodiscard]] Target find_target(std::string_view text);

/// Raises this process's limit of open files as far as it may. Returns it.
std::uint64_t raise_fd_limit();

}  // namespace load
