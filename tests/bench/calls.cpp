#include "calls.hpp"

#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace bench {
namespace {

constexpr const char* tracefs = "/sys/kernel/tracing";
constexpr const char* enter_point = "syscalls/sys_enter_io_uring_enter";
constexpr const char* any_point = "raw_syscalls/sys_enter";

/// The number of a tracepoint; 0 when it cannot be read.
std::uint64_t number_of(const char* point) {
    std::uint64_t number = 0;
    std::ifstream(fmt::format("{}/events/{}/id", tracefs, point)) >> number;
    return number;
}

int open_counter(std::uint64_t point, pid_t thread) {
    perf_event_attr attributes{};
    attributes.type = PERF_TYPE_TRACEPOINT;
    attributes.size = sizeof attributes;
    attributes.config = point;
    attributes.inherit = 1;
    return static_cast<int>(
        syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

}  // namespace

std::string find_tracepoints() {
    if (number_of(enter_point) != 0) return {};
    const bool mounted = unshare(CLONE_NEWNS) == 0 &&
                         mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         mount("none", tracefs, "tracefs", 0, nullptr) == 0;
    if (mounted && number_of(enter_point) != 0) return {};
    return fmt::format("the kernel's tracepoints cannot be read{}{}", mounted ? "" : ": ",
                       mounted ? "" : strerror(errno));
}

CallCounter::CallCounter(const std::vector<pid_t>& processes) {
    const std::uint64_t enter = number_of(enter_point);
    const std::uint64_t any = number_of(any_point);
    for (const pid_t process : processes) {
        const std::string tasks = fmt::format("/proc/{}/task", process);
        for (const auto& task : std::filesystem::directory_iterator(tasks)) {
            const pid_t thread = std::stoi(task.path().filename());
            enters_.push_back(open_counter(enter, thread));
            all_.push_back(open_counter(any, thread));
            if (enters_.back() < 0 || all_.back() < 0)
                throw std::runtime_error(
                    fmt::format("cannot count system calls: {}", strerror(errno)));
        }
    }
}

CallCounter::~CallCounter() {
    for (const int counter : enters_) close(counter);
    for (const int counter : all_) close(counter);
}

std::uint64_t CallCounter::sum(const std::vector<int>& counters) {
    std::uint64_t all = 0;
    for (const int counter : counters) {
        std::uint64_t one = 0;
        if (read(counter, &one, sizeof one) == sizeof one) all += one;
    }
    return all;
}

}  // namespace bench
