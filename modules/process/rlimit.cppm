export module ringfort.process:rlimit;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// Sets how many descriptors this process and its later children may have open, and returns the
/// number in force. `wanted` of 0 means the hard limit; less than now is set too, and only the soft
/// limit follows it down. More than the hard limit needs CAP_SYS_RESOURCE; without it, or past
/// fs.nr_open, the hard limit is what one gets: the caller compares and tells. Descriptors that are
/// open stay so. Errors: those of getrlimit(2), setrlimit(2).
[[nodiscard]] Result<std::uint64_t> set_open_files(std::uint64_t wanted);

/// Sets how large a core this process and its later children may leave, in bytes, as far as the
/// hard limit allows, and returns the size in force: the caller compares and tells. As above, more
/// needs CAP_SYS_RESOURCE. Errors: those of getrlimit(2), setrlimit(2).
[[nodiscard]] Result<std::uint64_t> set_core_size(std::uint64_t wanted);

/// Lets this process leave a core, and be looked into by others of its user, though it has changed
/// its user. Errors: those of prctl(2), PR_SET_DUMPABLE.
[[nodiscard]] Result<void> make_dumpable();

}  // namespace ringfort::process
