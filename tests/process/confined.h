/// What a process in a sandbox tries, and what it hears. Include it after in_child.h.
#ifndef RINGFORT_TESTS_PROCESS_CONFINED_H
#define RINGFORT_TESTS_PROCESS_CONFINED_H

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

/// Returns "ok", or the name of errno, and closes what was opened.
inline std::string said(int outcome) {
    if (outcome < 0) return ::strerrorname_np(errno);
    if (outcome > STDERR_FILENO) ::close(outcome);
    return "ok";
}

inline std::string open_for_reading(const std::string& path) {
    return said(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

inline std::string open_for_writing(const std::string& path) {
    return said(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

inline sockaddr_in loopback(std::uint16_t port = 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/// A listener of the test's own, for somebody to connect to.
class OpenPort {
public:
    OpenPort() {
        sockaddr_in address = loopback();
        socklen_t size = sizeof address;
        if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
            ::listen(socket_, 16) == 0 &&
            ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
            port_ = ntohs(address.sin_port);
    }
    OpenPort(const OpenPort&) = delete;
    OpenPort& operator=(const OpenPort&) = delete;
    ~OpenPort() { ::close(socket_); }
    [[nodiscard]] std::uint16_t port() const { return port_; }

private:
    int socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::uint16_t port_ = 0;
};

inline std::string connect_to(std::uint16_t port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return "socket: " + said(socket);
    const sockaddr_in address = loopback(port);
    std::string text =
        said(::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address));
    ::close(socket);
    return text;
}

inline std::string bind_any(int type) {
    const int socket = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (socket < 0) return "socket: " + said(socket);
    const sockaddr_in address = loopback();
    std::string text =
        said(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address));
    ::close(socket);
    return text;
}

/// Returns the signal that ended a child, from what `in_child` says of it; 0 for none.
inline int signal_of(const std::string& text) {
    const std::string before = "ended with status ";
    const auto at = text.find(before);
    return at == text.npos ? 0 : std::atoi(text.c_str() + at + before.size()) & 0x7f;
}

/// A descriptor of /proc/self/status, opened while that is allowed; what it says then is of now.
class Status {
public:
    Status() = default;
    Status(const Status&) = delete;
    Status& operator=(const Status&) = delete;
    ~Status() { ::close(fd_); }
    [[nodiscard]] std::string line(const std::string& key) const {
        char buffer[4096] = {};
        if (::pread(fd_, buffer, sizeof buffer - 1, 0) <= 0) return "(no status)";
        const std::string text{buffer};
        const auto at = text.find("\n" + key + ":\t");
        if (at == text.npos) return "(no such line)";
        const auto begin = at + key.size() + 3;
        return text.substr(begin, text.find('\n', begin) - begin);
    }

private:
    int fd_ = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
};

#endif
