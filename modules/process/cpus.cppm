export module ringfort.process:cpus;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// Counts the processors this process can use: those of its affinity mask, but no more than the CPU
/// quota of its cgroups, rounded up. At least 1. Reads /proc and /sys; what cannot be read does not
/// limit. Source: sched_getaffinity(2), cgroups(7).
[[nodiscard]] std::uint32_t available_cpus();

/// Keeps this process on one processor of its affinity mask: the one at `index`, counted from 0 and
/// around, so that workers spread over all there are. Returns its number. Errors: those of
/// sched_getaffinity(2) and sched_setaffinity(2).
[[nodiscard]] Result<std::uint32_t> stay_on_processor(std::uint32_t index);

/// Sets the priority of this process, -20 (first) to 19 (last). Less than now needs CAP_SYS_NICE or
/// RLIMIT_NICE. Errors: those of setpriority(2).
[[nodiscard]] Result<void> set_nice(int nice);

/// Reads a whole small file; nothing when it cannot.
using ReadFile = std::function<std::optional<std::string>(const std::string& path)>;

/// Finds the tightest CPU quota on the way from a process's cgroup up to the root, in processors
/// rounded up, at least 1; nothing when there is none. `self_cgroup` is the text of
/// /proc/self/cgroup; cpu.max (version 2) or cpu.cfs_quota_us and cpu.cfs_period_us (version 1) are
/// read under /sys/fs/cgroup. A directory that is not there does not limit: in a container without
/// a cgroup namespace the path is the host's, and only the root of the mount is visible.
[[nodiscard]] std::optional<std::uint32_t> cgroup_cpu_quota(std::string_view self_cgroup,
                                                            const ReadFile& read);

/// Reads a quota of "150000 100000" (cpu.max) as 2 processors; nothing for "max 100000" and for
/// what is malformed. Source: the kernel's Documentation/admin-guide/cgroup-v2.rst.
[[nodiscard]] std::optional<std::uint32_t> parse_cpu_max(std::string_view text);

/// Reads a quota of version 1; nothing for "-1" and for what is malformed.
/// Source: the kernel's Documentation/scheduler/sched-bwc.rst.
[[nodiscard]] std::optional<std::uint32_t> parse_cfs_quota(std::string_view quota_us,
                                                           std::string_view period_us);

}  // namespace ringfort::process
