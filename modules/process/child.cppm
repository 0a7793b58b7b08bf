export module ringfort.process:child;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// How a process ended. A value; see wait(2).
struct ExitStatus {
    /// CLD_EXITED, CLD_KILLED and CLD_DUMPED of waitid(2).
    enum class Kind : std::uint8_t {
        exited,  ///< by itself
        killed,  ///< by a signal
        dumped,  ///< by a signal, leaving a core
        unknown  ///< as its parent knows, which is another process
    };

    Kind kind = Kind::exited;
    int number = 0;  ///< the exit code (0..255) or the signal, as `kind` says

    /// Make a status: of an exit with this code, of a death by this signal.
    [[nodiscard]] static constexpr ExitStatus exited(int code) noexcept {
        return {Kind::exited, code};
    }
    /// See `exited`.
    [[nodiscard]] static constexpr ExitStatus killed(int signal) noexcept {
        return {Kind::killed, signal};
    }

    /// Tells whether the process exited by itself with code 0.
    [[nodiscard]] constexpr bool succeeded() const noexcept {
        return kind == Kind::exited && number == 0;
    }
    /// Returns "exited with code 2", "killed by signal 9 (SIGKILL)" or
    /// "killed by signal 11 (SIGSEGV), core dumped", or "ended".
    [[nodiscard]] std::string text() const;

    friend constexpr bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// Collects the status of a child that has ended, once; nothing while it lives. Does not block.
/// Errors: ECHILD when it was reaped before or is not our child; EBADF.
/// Source: waitid(2), P_PIDFD.
[[nodiscard]] Result<std::optional<ExitStatus>> reap(const Fd& pidfd);

/// Sends a signal to the very process that `pidfd` stands for; 0 only probes. One that has ended
/// but was not reaped yet takes the signal without effect, as with kill(2).
/// Errors: ESRCH when it was reaped; EPERM; EINVAL for an unknown signal; EBADF.
/// Source: pidfd_send_signal(2).
[[nodiscard]] Result<void> send_signal(const Fd& pidfd, int signal);

}  // namespace ringfort::process
