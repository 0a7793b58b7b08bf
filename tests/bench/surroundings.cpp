#include "surroundings.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "../loopback.h"

namespace bench {
namespace {

constexpr const char* congestion_file = "/proc/sys/net/ipv4/tcp_congestion_control";
constexpr const char* settings = "/proc/sys/net/ipv4/";

std::string congestion_control() {
    std::string name;
    std::ifstream(congestion_file) >> name;
    return name.empty() ? "unknown" : name;
}

}  // namespace

std::string enter_own_network() {
    if (unshare(CLONE_NEWNET) != 0) {
        return fmt::format(
            "shared with the machine ({}; run as root for a namespace of its own), "
            "congestion control {}",
            strerror(errno), congestion_control());
    }
    if (const int failed = testing::raise_loopback(); failed != 0) {
        throw std::runtime_error(fmt::format(
            "cannot raise the loopback of the new network namespace: {}", strerror(failed)));
    }
    // Linux keeps this setting per namespace: the machine's own is not touched.
    std::ofstream(congestion_file) << "reno" << std::flush;
    // A client that closes first leaves its port waiting. After some 14,000 connections the kernel
    // searches for a free one so long, inside connect(2), that it would be all that churn measures.
    std::ofstream(fmt::format("{}tcp_tw_reuse", settings)) << 1 << std::flush;
    std::ofstream(fmt::format("{}tcp_tw_reuse_delay", settings)) << 1 << std::flush;
    std::ofstream(fmt::format("{}ip_local_port_range", settings)) << "10000 65535" << std::flush;
    const std::string control = congestion_control();
    return fmt::format("a namespace of its own, congestion control {}{}", control,
                       control == "reno" ? "" : " (reno could not be set)");
}

Cores pick_cores() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        throw std::runtime_error(fmt::format("sched_getaffinity: {}", strerror(errno)));
    }
    std::vector<int> cores;
    for (int core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(static_cast<std::size_t>(core), &allowed)) cores.push_back(core);
    }
    const auto nth = [&](std::size_t n) { return cores[std::min(n, cores.size() - 1)]; };
    return {nth(0), nth(1), nth(2)};
}

void pin_to(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<std::size_t>(core), &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
        throw std::runtime_error(fmt::format("cannot pin to core {}: {}", core, strerror(errno)));
    }
}

std::uint64_t idle_ns(const Cores& cores) {
    const auto ns_per_tick = 1'000'000'000U / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
    const std::string server = fmt::format("cpu{}", cores.server);
    const std::string load = fmt::format("cpu{}", cores.load);
    std::uint64_t sum = 0;
    std::ifstream stat("/proc/stat");
    for (std::string line; std::getline(stat, line);) {
        std::istringstream fields(line);
        std::string name;
        std::uint64_t user = 0, nice = 0, system = 0, idle = 0, iowait = 0;
        fields >> name >> user >> nice >> system >> idle >> iowait;
        if (name == server || name == load) sum += (idle + iowait) * ns_per_tick;
    }
    return sum;
}

}  // namespace bench
