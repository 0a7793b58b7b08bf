module;
#include <sys/types.h>
export module ringfort.process:inspect;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// Says in a sentence what a process is doing: its state, the CPU time it has used, and what it
/// waits for in the kernel, as far as this process may see it. Never fails: what cannot be read is
/// left out. Source: proc_pid_stat(5), proc_pid_wchan(5).
[[nodiscard]] std::string describe(pid_t pid);

/// Says which process this is, as a number that none had before it nor gets after it until the next
/// boot: its pid and when it started. 0: it is gone, or /proc does not tell.
/// Source: starttime in proc_pid_stat(5).
[[nodiscard]] std::uint64_t identify(pid_t pid);

/// Opens the process that `identify` has named, for poll(2): it is readable once that has ended.
/// Errors: ESRCH when it has, which is certain then; others of pidfd_open(2) and open(2).
[[nodiscard]] Result<Fd> open_identified(std::uint64_t identity);

/// Tells whether the folder of `path` lets this process's real user make a file there, without
/// making it. Errors: those of access(2).
[[nodiscard]] Result<void> may_create(const std::string& path) noexcept;

/// Tells whether a debugger is attached. Source: TracerPid in proc_pid_status(5).
[[nodiscard]] bool is_traced(pid_t pid);

/// Has the calling process write its stack to the log when it is aborted, by itself or by a SIGABRT
/// from outside, before it ends by that signal. Frames are addresses in their files, for
/// addr2line(1), and names where the linker has kept them (-rdynamic).
void trace_aborts() noexcept;

}  // namespace ringfort::process
