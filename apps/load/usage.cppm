module;
#include <sys/types.h>
#include <time.h>
export module load:usage;

import ringfort;
import ringfort.std;

export namespace load {

/// What some processes have used since they were started.
struct Usage {
    std::uint64_t cpu_ns = 0;          ///< all their threads, from the process CPU clocks
    std::uint64_t user_ticks = 0;      ///< of it in user space, sampled by the kernel's timer
    std::uint64_t system_ticks = 0;    ///< likewise in the kernel
    std::uint64_t resident_bytes = 0;  ///< now
};

/// Memory of the kernel's own that grows with sockets, of the whole machine: /proc/meminfo.
struct KernelMemory {
    std::uint64_t slab_bytes = 0;           ///< Slab
    std::uint64_t unreclaimable_bytes = 0;  ///< SUnreclaim, a part of it
};

/// Processes whose CPU time and memory are read while a load runs.
class Measured {
public:
    /// Finds the clocks of `pids`. Errors: ESRCH when one of them does not run.
    [[nodiscard]] static ringfort::Result<Measured> open(const std::vector<pid_t>& pids);

    /// Reads clocks and ticks, and the memory if `what` says so (which takes the kernel a while).
    /// Errors: ESRCH when one of them is gone: what it had used can no longer be known.
    enum class What : std::uint8_t { cpu, cpu_and_memory };
    [[nodiscard]] ringfort::Result<Usage> read(What what = What::cpu) const;

private:
    struct Process {
        pid_t pid;
        clockid_t clock;
    };
    std::vector<Process> processes_;
};

/// What measured processes used in a run, and what the machine's kernel did.
struct Measurement {
    Usage before;  ///< before the first connect
    Usage begin;   ///< when the window began
    Usage end;     ///< when it ended, every connection still open
    KernelMemory kernel_before;
    KernelMemory kernel_end;
    [[nodiscard]] std::uint64_t cpu_ns() const { return end.cpu_ns - begin.cpu_ns; }
    /// Returns the share of the CPU time spent in user space, 0 to 1; 0 when it was too short.
    [[nodiscard]] double user_share() const;
};

/// Reads the kernel's memory; zeros when /proc/meminfo cannot be read.
[[nodiscard]] KernelMemory kernel_memory();

}  // namespace load
