#include "calls.hpp"

#include <dlfcn.h>
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
#include <sstream>
#include <stdexcept>
#include <string>

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

int open_event(perf_event_attr& attributes, pid_t thread) {
    attributes.size = sizeof attributes;
    attributes.inherit = 1;
    return static_cast<int>(
        syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

int open_counter(std::uint64_t point, pid_t thread) {
    perf_event_attr attributes{};
    attributes.type = PERF_TYPE_TRACEPOINT;
    attributes.config = point;
    return open_event(attributes, thread);
}

/// Where a function of the C library stands in its file.
struct Place {
    std::string file;
    std::uint64_t offset = 0;
};

/// Finds a function by where this process has mapped it: the servers map the same file.
std::optional<Place> place_of(const char* function) {
    const auto address = reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, function));
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        std::istringstream fields(line);
        std::uintptr_t begin = 0, end = 0;
        std::uint64_t offset = 0, inode = 0;
        char dash = 0;
        std::string mode, device, file;
        fields >> std::hex >> begin >> dash >> end >> mode >> offset >> device >> std::dec >> inode;
        fields >> file;
        if (begin <= address && address < end && inode != 0)
            return Place{file, offset + (address - begin)};
    }
    return std::nullopt;
}

/// Adds a counter of each function that returns new memory; none when one is refused.
std::vector<int> open_allocation_counters(pid_t thread) {
    std::uint32_t type = 0;
    std::ifstream("/sys/bus/event_source/devices/uprobe/type") >> type;
    std::vector<int> counters;
    for (const char* function :
         {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "memalign"}) {
        const auto place = place_of(function);
        perf_event_attr attributes{};
        attributes.type = type;
        if (place) {
            attributes.uprobe_path = reinterpret_cast<std::uintptr_t>(place->file.c_str());
            attributes.probe_offset = place->offset;
        }
        const int counter = type != 0 && place ? open_event(attributes, thread) : -1;
        if (counter < 0) {
            for (const int one : counters) close(one);
            return {};
        }
        counters.push_back(counter);
    }
    return counters;
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
            const auto allocations = open_allocation_counters(thread);
            allocations_.insert(allocations_.end(), allocations.begin(), allocations.end());
            if (enters_.back() < 0 || all_.back() < 0)
                throw std::runtime_error(
                    fmt::format("cannot count system calls: {}", strerror(errno)));
        }
    }
}

CallCounter::~CallCounter() {
    for (const int counter : enters_) close(counter);
    for (const int counter : all_) close(counter);
    for (const int counter : allocations_) close(counter);
}

std::optional<std::uint64_t> CallCounter::allocations() const {
    return allocations_.empty() ? std::nullopt : std::optional{sum(allocations_)};
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
