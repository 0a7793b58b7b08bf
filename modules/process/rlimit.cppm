module;
#include <cstdint>
export module ringfort.process:rlimit;

import ringfort.base;

export namespace ringfort::process {

/// Raises the number of descriptors this process and its later children may have open, and returns
/// the number in force. `wanted` of 0 means the hard limit. Never lowers it. More than the hard
/// limit needs CAP_SYS_RESOURCE; without it, or past fs.nr_open, the hard limit is what one gets:
/// the caller compares and tells. Errors: those of getrlimit(2), setrlimit(2).
[[nodiscard]] Result<std::uint64_t> raise_open_files(std::uint64_t wanted);

}  // namespace ringfort::process
