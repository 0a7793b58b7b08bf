module;
#include <fmt/format.h>
#include <ringfort/try.h>
#include <sys/types.h>
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module load;

import ringfort;

namespace load {
namespace {

namespace rf = ringfort;

constexpr std::uint64_t ns_per_s = 1'000'000'000;

/// The number of bytes behind `name`, which /proc gives in kB; 0 when it is not there.
std::uint64_t bytes_of(const std::string& path, std::string_view name) {
    std::ifstream file{path};
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(name)) continue;
        std::istringstream rest{line.substr(name.size())};
        std::uint64_t kib = 0;
        rest >> kib;
        return kib * 1024;
    }
    return 0;
}

/// Adds the fields utime and stime of proc_pid_stat(5). The second field may contain anything.
rf::Result<void> add_ticks(pid_t pid, Usage& usage) {
    std::ifstream file{fmt::format("/proc/{}/stat", pid)};
    std::string text;
    std::getline(file, text, '\0');
    const auto name_end = text.rfind(')');
    if (name_end == text.npos) return rf::Error{"read the CPU time of a process", ESRCH};
    std::istringstream rest{text.substr(name_end + 1)};
    std::string skipped;
    for (int field = 3; field < 14; ++field) rest >> skipped;
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    rest >> user >> system;
    usage.user_ticks += user;
    usage.system_ticks += system;
    return {};
}

}  // namespace

rf::Result<Measured> Measured::open(const std::vector<pid_t>& pids) {
    Measured measured;
    for (const pid_t pid : pids) {
        clockid_t clock{};
        if (const int outcome = ::clock_getcpuclockid(pid, &clock); outcome != 0)
            return rf::Error{"find the CPU clock of a process", outcome};
        measured.processes_.push_back({pid, clock});
    }
    return measured;
}

rf::Result<Usage> Measured::read(What what) const {
    Usage usage;
    for (const Process& process : processes_) {
        timespec used{};
        if (::clock_gettime(process.clock, &used) != 0)
            return rf::Error{"read the CPU clock of a process", ESRCH};
        usage.cpu_ns += static_cast<std::uint64_t>(used.tv_sec) * ns_per_s +
                        static_cast<std::uint64_t>(used.tv_nsec);
        RF_TRY(add_ticks(process.pid, usage));
        if (what == What::cpu_and_memory)
            usage.resident_bytes +=
                bytes_of(fmt::format("/proc/{}/smaps_rollup", process.pid), "Rss:");
    }
    return usage;
}

double Measurement::user_share() const {
    const auto user = static_cast<double>(end.user_ticks - begin.user_ticks);
    const auto all = user + static_cast<double>(end.system_ticks - begin.system_ticks);
    return all > 0 ? user / all : 0;
}

KernelMemory kernel_memory() {
    return {bytes_of("/proc/meminfo", "Slab:"), bytes_of("/proc/meminfo", "SUnreclaim:")};
}

}  // namespace load
