#include "surroundings.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>

namespace bench {
namespace {

constexpr const char* congestion_file = "/proc/sys/net/ipv4/tcp_congestion_control";

void raise_loopback() {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    const bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    const int error = errno;
    if (fd >= 0) close(fd);
    if (!up) {
        throw std::runtime_error(fmt::format(
            "cannot raise the loopback of the new network namespace: {}", strerror(error)));
    }
}

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
    raise_loopback();
    // Linux keeps this setting per namespace: the machine's own is not touched.
    std::ofstream(congestion_file) << "reno" << std::flush;
    const std::string control = congestion_control();
    return fmt::format("a namespace of its own, congestion control {}{}", control,
                       control == "reno" ? "" : " (reno could not be set)");
}

Cores pick_cores() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {};
    Cores cores;
    for (int core = 0; core < CPU_SETSIZE; ++core) {
        if (!CPU_ISSET(static_cast<std::size_t>(core), &allowed)) continue;
        if (cores.server >= 0) {
            cores.load = core;
            return cores;
        }
        cores.server = core;
    }
    return {};
}

void pin_to(int core) {
    if (core < 0) return;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<std::size_t>(core), &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
        throw std::runtime_error(fmt::format("cannot pin to core {}: {}", core, strerror(errno)));
    }
}

}  // namespace bench
