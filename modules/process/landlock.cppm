export module ringfort.process:landlock;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// What a Landlock ruleset restricts beside files.
struct LandlockOptions {
    bool connections = true;       ///< TCP; from ABI 4
    bool abstract_sockets = true;  ///< connecting to those of others; from ABI 6
};

/// A Landlock ruleset on its way to being enforced: every way to reach a file is refused, binding a
/// TCP socket too, connecting one and signalling processes outside as far as the kernel knows how;
/// then what is allowed is added. It holds for io_uring as well, and for descriptors opened from
/// then on. Owns the ruleset's descriptor. Source: landlock(7).
class Landlock {
public:
    /// Returns the version of the kernel's Landlock; 0 for a kernel without one, or where it is
    /// switched off.
    [[nodiscard]] static int abi() noexcept;
    /// Versions from which on something is refused.
    static constexpr int ports_abi = 4;
    static constexpr int scopes_abi = 6;  ///< signals, abstract sockets

    /// Begins a ruleset. Errors: ENOSYS and EOPNOTSUPP without Landlock; those of
    /// landlock_create_ruleset(2).
    [[nodiscard]] static Result<Landlock> create(const LandlockOptions& options);

    /// Allow a file, or a folder with all below it: reading, and listing folders; and beyond that
    /// writing, making, moving and removing. Nothing allows executing. Errors: those of open(2) for
    /// the path, ENOENT among them, and of landlock_add_rule(2).
    [[nodiscard]] Result<void> allow_reading(const std::string& path);
    [[nodiscard]] Result<void> allow_writing(const std::string& path);
    /// Allows connecting to this TCP port, on every host; does nothing where ports are not known or
    /// not restricted. Errors: those of landlock_add_rule(2).
    [[nodiscard]] Result<void> allow_connecting(std::uint16_t port);

    /// Puts this thread, and what it starts, under the ruleset for good. Needs `no_new_privs` or
    /// CAP_SYS_ADMIN. Errors: EPERM; E2BIG for the 17th ruleset on top of each other.
    [[nodiscard]] Result<void> enforce();

private:
    Landlock(Fd ruleset, int abi, bool connections) noexcept
        : ruleset_{std::move(ruleset)}, abi_{abi}, connections_{connections} {}
    [[nodiscard]] Result<void> allow(const std::string& path, std::uint64_t rights);

    Fd ruleset_;
    int abi_;
    bool connections_;  ///< are restricted
};

}  // namespace ringfort::process
