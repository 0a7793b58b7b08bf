export module ringfort.process:daemon;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// The process that has started a daemon and waits to hear how that went. Move only.
class Starter {
public:
    /// Lets it exit with 0. Before that, its end ends the daemon, by SIGTERM; after that it has
    /// nothing to do with it any more.
    void report_success() noexcept;

private:
    friend Result<std::variant<Starter, int>> become_daemon();
    explicit Starter(Fd verdict) noexcept : verdict_{std::move(verdict)} {}

    Fd verdict_;  ///< close-on-exec; its end without a word is a failure
};

/// Forks, and returns in both processes. In the daemon, which leads a session of its own without a
/// terminal and has /dev/null as standard input and output, with the other process, its starter.
/// There, when the daemon has reported success or has ended, with the exit code that tells: 0, or
/// the daemon's own, or 1 when a signal has ended it, which is logged. Standard error, the umask
/// and the working directory stay as they are. Blocks in the starter as long as the start takes.
/// Errors: those of fork(2), pipe(2), and of open(2) for /dev/null. Source: daemon(7); nginx
/// os/unix/ngx_daemon.c, which does not wait.
[[nodiscard]] Result<std::variant<Starter, int>> become_daemon();

}  // namespace ringfort::process
