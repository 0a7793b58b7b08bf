#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace e2e {

/// What /proc says of processes. Zombies count as gone: they hold nothing.
[[nodiscard]] bool is_running(pid_t pid);
[[nodiscard]] bool is_stopped(pid_t pid);
/// Stops a process, until SIGCONT; returns when it has stopped. Fails the test if it does not.
void stop(pid_t pid);
[[nodiscard]] std::vector<pid_t> children_of(pid_t parent);
/// Returns what ps(1) shows of it.
[[nodiscard]] std::string title_of(pid_t pid);
[[nodiscard]] std::vector<pid_t> members_of_group(pid_t group);
/// Returns user and system time together, to the clock tick (10 ms).
[[nodiscard]] std::uint64_t cpu_time_ms(pid_t pid);
[[nodiscard]] std::uint64_t resident_kib(pid_t pid);
/// Returns what follows `name` in /proc/PID/status, its words parted by one space.
[[nodiscard]] std::string status_of(pid_t pid, const std::string& name);
/// Returns what each open descriptor leads to, as readlink(2) of /proc/PID/fd says.
[[nodiscard]] std::vector<std::string> open_files(pid_t pid);
/// Counts the descriptors of each, when that does not change any more: who has just said that it is
/// ready may still open something. Fails the test if they go on opening.
[[nodiscard]] std::vector<std::size_t> settled_files(const std::vector<pid_t>& pids);
/// Returns the inodes of the process's sockets.
[[nodiscard]] std::set<std::uint64_t> socket_inodes(pid_t pid);

}  // namespace e2e
