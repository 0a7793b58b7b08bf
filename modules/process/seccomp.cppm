export module ringfort.process:seccomp;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// What becomes of a system call that a filter does not allow.
enum class Refusal : std::uint8_t {
    error,  ///< it fails with EPERM
    kill    ///< SIGSYS ends the process
};

/// What a filter allows beyond what a worker does to memory, time, itself, and the descriptors it
/// has.
struct CallFilter {
    bool reading = false;       ///< opening files and folders; what they are asked about
    bool writing = false;       ///< making, moving, removing files
    bool streams = false;       ///< TCP sockets that connect
    bool unix_sockets = false;  ///< unix sockets that connect
    bool datagrams =
        false;         ///< UDP sockets, and with `unix_sockets` unix ones, that bind and connect
    bool ring = true;  ///< entering an io_uring and giving it buffers, not making another one
    Refusal refusal = Refusal::error;
};

/// Tells whether the kernel has seccomp filters.
[[nodiscard]] bool has_call_filters() noexcept;

/// Lets this thread, and what it starts, make only the calls that `filter` allows, for good.
///
/// Never allowed: executing and forking (threads are), listening, memory that is executable,
/// signals to others, tracing, namespaces and mounts, raw and other sockets, making an io_uring,
/// another filter. Whatever is asked of an io_uring passes by: see uring::Permits. Needs
/// `no_new_privs`. Errors: those of seccomp(2); EINVAL where it is not in the kernel; ENOMEM.
/// Source: seccomp(2); libseccomp.
[[nodiscard]] Result<void> filter_calls(const CallFilter& filter);

}  // namespace ringfort::process
