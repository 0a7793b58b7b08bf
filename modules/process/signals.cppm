module;
#include <sys/types.h>
export module ringfort.process:signals;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// A signal that was received. Signals of one number sent while one is pending arrive as one.
struct SignalInfo {
    int number = 0;
    pid_t sender =
        0;  ///< 0 when the kernel sent it (Ctrl-C) or the sender is in another pid namespace
};

/// Receives signals as events of a descriptor: no handler ever runs, so nothing needs to be
/// async-signal-safe. Owns the descriptor. Move only.
class SignalFd {
public:
    /// Blocks `signals` for the process, in addition to those blocked already, and opens the
    /// descriptor (non-blocking, close-on-exec). They stay blocked when the SignalFd is destroyed.
    /// Errors: EINVAL for a number that is no signal; EMFILE, ENFILE, ENOMEM.
    /// Source: signalfd(2), sigprocmask(2).
    [[nodiscard]] static Result<SignalFd> open(std::initializer_list<int> signals);

    /// Takes the next pending signal; nothing when there is none. Does not block.
    /// Errors: those of read(2).
    [[nodiscard]] Result<std::optional<SignalInfo>> next();

    /// Returns the descriptor to poll for POLLIN. It stays owned by the SignalFd.
    [[nodiscard]] RawFd fd() const noexcept { return fd_.get(); }

private:
    explicit SignalFd(Fd fd) noexcept : fd_{std::move(fd)} {}

    Fd fd_;
};

/// Ignores `signals`: a server ignores SIGPIPE, and reads EPIPE instead.
/// Errors: EINVAL for SIGKILL, SIGSTOP and numbers that are no signals.
[[nodiscard]] Result<void> ignore(std::initializer_list<int> signals);

/// Unblocks every signal; those pending are delivered before it returns.
void unblock_all() noexcept;

/// Returns "SIGKILL", "SIGRTMIN+3", or "unknown" for a number that is no signal.
[[nodiscard]] std::string signal_name(int number);

}  // namespace ringfort::process
