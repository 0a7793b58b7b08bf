export module ringfort.uring:diagnosis;

import ringfort.base;
import ringfort.std;

export namespace ringfort::uring {

/// What the machine says about io_uring; gathered once, judged by `diagnose`.
struct Facts {
    std::optional<int> disabled_sysctl = {};  ///< kernel.io_uring_disabled; absent before Linux 6.6
    int seccomp_mode = 0;                     ///< "Seccomp:" of /proc/self/status: 2 = filter
    std::uint64_t memlock_limit = 0;          ///< bytes; RLIMIT_MEMLOCK
    std::uint64_t memlock_needed = 0;         ///< bytes; what one ring of this size is charged with
    std::string kernel = {};                  ///< release, as uname(2) tells it
};

/// What keeps a ring from being made.
enum class Cause : std::uint8_t {
    old_kernel,
    sysctl,
    seccomp,
    security_module,
    memlock,
    descriptors,
    other
};

/// Why a ring could not be made, and what to do about it.
struct Diagnosis {
    Cause cause = Cause::other;
    std::string text;  ///< one sentence for the cause, one for the remedy
};

/// Reads the facts. Never fails: what cannot be read is left at its default.
/// The arguments are the sizes of the ring wanted, the most receive buffers it may have, and the
/// most of datagrams, 0 if nobody receives any.
[[nodiscard]] Facts gather_facts(std::uint32_t submissions, std::uint32_t completions,
                                 std::uint32_t max_receive_buffers,
                                 std::uint32_t max_message_buffers = 0);

/// Tells the cause of a failed io_uring_setup(2). Pure.
[[nodiscard]] Diagnosis diagnose(const Error& error, const Facts& facts);

}  // namespace ringfort::uring
