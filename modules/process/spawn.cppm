module;
#include <sys/types.h>
export module ringfort.process:spawn;

import ringfort.base;
import ringfort.std;
import :child;

export namespace ringfort::process {

/// The exit code of a child whose entry let an exception escape: EX_SOFTWARE of sysexits(3).
inline constexpr int exit_exception = 70;
/// The exit code of a child that could not be prepared for its entry: EX_OSERR of sysexits(3).
inline constexpr int exit_os_error = 71;

/// A process that `spawn` started. The one who holds it reaps it; destroying it neither ends nor
/// reaps the process.
struct Child {
    pid_t pid = -1;        ///< for people and logs; signals go through the pidfd
    Fd pidfd;              ///< close-on-exec; readable (poll: POLLIN) from the process's end on
    bool sibling = false;  ///< it is the child of this process's parent
};

/// What a child is given. Views: valid for the duration of the call to `spawn`.
struct SpawnOptions {
    /// The child's title from its first moment on; see `Title::set`.
    std::string_view name = "worker";
    /// Descriptors that stay open in the child, under the same numbers, beside 0, 1, 2 and the
    /// log's two. Those that are not open are skipped.
    std::span<const RawFd> keep{};
    /// Signals that are blocked when the entry begins, so that none sent early is lost or kills
    /// the child before it has its own SignalFd. All others are unblocked.
    std::span<const int> blocked{};
    /// Makes it a child of this process's parent, which reaps it and alone learns how it ended: for
    /// what is to go on in this process's place under a parent that supervises its children.
    bool sibling = false;
};

/// Collects the status of a process that was spawned and has ended, once; nothing while it lives.
/// Does not block. Errors: as of the other `reap`.
[[nodiscard]] Result<std::optional<ExitStatus>> reap(const Child& child);

/// Runs in the child; what it returns is the exit code (its low 8 bits). The child has a copy of
/// the parent's memory, so capturing by reference is safe. Owners of descriptors that are not in
/// `keep` hold dead numbers there: neither use nor destroy them.
using Entry = std::function<int()>;

/// Forks a child that runs `entry` and never returns from this call. Before `entry` the child has:
/// every handler and every ignored signal reset to the default, the mask of `options.blocked`, all
/// descriptors closed but those kept, standard input from /dev/null, the C library's generators
/// seeded anew, the parent's unwritten standard output and error discarded. The umask, the working
/// directory and the process group are the parent's. It leaves through _exit(2) after flushing
/// stdout and stderr: no handler of atexit(3) and no destructor of the parent's statics runs. An
/// exception that escapes is logged; the code is then `exit_exception`.
///
/// Errors, leaving neither a process nor a descriptor behind: EAGAIN (RLIMIT_NPROC, pids cgroup),
/// ENOMEM, EMFILE, ENFILE, those of open(2) for /dev/null; EINVAL for a sibling of process 1.
/// Nobody else may reap this process's children; an ignored SIGCHLD, with which the kernel would do
/// so, is made the default. Does not block, but for the copying of page tables; after a failed
/// pidfd_open(2) it waits for the end of the child it has killed. Source: fork(2), clone(2),
/// pidfd_open(2), close_range(2); nginx ngx_spawn_process.
[[nodiscard]] Result<Child> spawn(const SpawnOptions& options, const Entry& entry);

}  // namespace ringfort::process
