export module ringfort.process:sandbox;

import ringfort.base;
import ringfort.std;
import :credentials;
import :seccomp;

export namespace ringfort::process {

/// What a process may still reach from inside its sandbox, beyond the descriptors it has.
struct SandboxOptions {
    std::string root =
        {};  ///< chroot(2) to here before all else, the paths below are inside; "": no
    std::vector<std::string> read = {};             ///< files, and folders with all below them
    std::vector<std::string> write = {};            ///< the same; reading is allowed, too
    std::vector<std::uint16_t> connect_ports = {};  ///< TCP, on every host
    bool connect_anywhere = false;                  ///< to every TCP port
    bool unix_sockets = false;         ///< connecting to every one that file permissions let it
    bool abstract_sockets = false;     ///< among those, to abstract ones of other processes
    bool datagrams = false;            ///< UDP, from and to everywhere
    bool ring = true;                  ///< it has an io_uring, which has to be restricted by itself
    bool dumpable = false;             ///< may leave a core, once it has become its user
    Refusal refusal = Refusal::error;  ///< of what seccomp does not let through
};

/// Says in a sentence each what this machine's kernel cannot keep such a process from, for the log;
/// empty when there is nothing.
[[nodiscard]] std::vector<std::string> sandbox_shortcomings(const SandboxOptions& options);

/// Gives up, for good, what this process does not need any more, in the order that each step
/// permits: the root directory, the bounding set, user and groups, all capabilities, new
/// privileges; then Landlock, and last a seccomp filter. What the kernel does not have is left out:
/// see `sandbox_shortcomings`. For one thread; blocks while paths are looked up.
///
/// Returns what became of the credentials, `dropped` without any. Errors: those of chroot(2),
/// `Credentials::drop`, `drop_capabilities`, `Landlock`, `filter_calls`; of a path, which is
/// logged, ENOENT and EACCES. After an error the process is in between: it has to exit.
[[nodiscard]] Result<DropOutcome> enter_sandbox(const SandboxOptions& options,
                                                const std::optional<Credentials>& credentials);

}  // namespace ringfort::process
