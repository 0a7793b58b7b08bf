#include "notify_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "endpoint.h"

namespace e2e {

NotifySocket::NotifySocket(const std::string& path)
    : fd_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)} {
    const Endpoint at = Endpoint::parse("unix:" + path);
    REQUIRE(::bind(fd_.get(), at.data(), at.size()) == 0);
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
}

NotifySocket::~NotifySocket() {
    ::unsetenv("NOTIFY_SOCKET");
}

NotifySocket::Message NotifySocket::receive(int timeout_ms) const {
    pollfd polled{fd_.get(), POLLIN, 0};
    if (::poll(&polled, 1, timeout_ms) != 1) return {};
    std::array<char, 4'096> bytes{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(253 * sizeof(int))> control{};
    iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(fd_.get(), &header, MSG_CMSG_CLOEXEC);
    REQUIRE(count > 0);
    Message message{.text = {bytes.data(), static_cast<std::size_t>(count)}, .fds = {}};
    if (const cmsghdr* const rights = CMSG_FIRSTHDR(&header))
        for (std::size_t i = 0; CMSG_LEN(i * sizeof(int)) < rights->cmsg_len; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(rights) + i * sizeof fd, sizeof fd);
            message.fds.emplace_back(fd);
        }
    return message;
}

}  // namespace e2e
