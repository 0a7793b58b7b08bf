#pragma once
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace testing {

/// Raises the loopback of a network namespace that is new (network_namespaces(7)). Returns 0 or an
/// errno.
inline int raise_loopback() noexcept {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    const int failed = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : errno;
    ::close(fd);
    return failed;
}

}  // namespace testing
