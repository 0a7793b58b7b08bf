module;
#include <sys/types.h>

#include <string>
export module ringfort.process:inspect;

export namespace ringfort::process {

/// Says in a sentence what a process is doing: its state, the CPU time it has used, and what it
/// waits for in the kernel, as far as this process may see it. Never fails: what cannot be read is
/// left out. Source: proc_pid_stat(5), proc_pid_wchan(5).
[[nodiscard]] std::string describe(pid_t pid);

/// Tells whether a debugger is attached. Source: TracerPid in proc_pid_status(5).
[[nodiscard]] bool is_traced(pid_t pid);

/// Has the calling process write its stack to the log when it is aborted, by itself or by a SIGABRT
/// from outside, before it ends by that signal. Frames are addresses in their files, for
/// addr2line(1), and names where the linker has kept them (-rdynamic).
void trace_aborts() noexcept;

}  // namespace ringfort::process
