#include "faulty_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

namespace bench {
namespace {

constexpr std::size_t buffer_bytes = 64U << 10;
constexpr std::chrono::milliseconds pause_length{200};

void require(bool held, const char* step) {
    if (!held) throw std::system_error(errno, std::generic_category(), step);
}

}  // namespace

FaultyServer::FaultyServer(Fault fault, std::uint64_t at)
    : fault_(fault), at_(at), buffer_(buffer_bytes) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(listener_ >= 0, "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    require(bind(listener_, generic, size) == 0, "bind");
    require(getsockname(listener_, generic, &size) == 0, "getsockname");
    port_ = ntohs(address.sin_port);
    if (fault_ == Fault::refuse) return;  // bound, so nobody else gets the port, but not listening
    require(listen(listener_, SOMAXCONN) == 0, "listen");
    stop_ = eventfd(0, EFD_CLOEXEC);
    require(stop_ >= 0, "eventfd");
    thread_ = std::thread([this] { serve(); });
}

FaultyServer::~FaultyServer() {
    if (thread_.joinable()) {
        eventfd_write(stop_, 1);
        thread_.join();
        close(stop_);
    }
    close(listener_);
}

void FaultyServer::serve() {
    std::vector<pollfd> watched{{stop_, POLLIN, 0}, {listener_, POLLIN, 0}};
    while (poll(watched.data(), watched.size(), -1) >= 0 && watched[0].revents == 0) {
        for (std::size_t i = 2; i < watched.size(); ++i) {
            if (watched[i].revents == 0 || on_readable(watched[i].fd) == After::keep) continue;
            close(watched[i].fd);
            watched[i].fd = -1;
        }
        const bool accepting = watched[1].revents != 0;
        std::erase_if(watched, [](const pollfd& entry) { return entry.fd < 0; });
        if (!accepting) continue;
        const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) ++connections_;
        if (fd >= 0) watched.push_back({fd, POLLIN, 0});
    }
    for (std::size_t i = 2; i < watched.size(); ++i) close(watched[i].fd);
}

FaultyServer::After FaultyServer::on_readable(int fd) {
    const ssize_t got = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (got <= 0) return on_end(fd);
    const Bytes answer = Bytes(buffer_).first(static_cast<std::size_t>(got));
    ++answers_;
    if (fault_ == Fault::stall && answers_ > at_) return After::keep;
    const bool swap_under_way = fault_ == Fault::swap && held_fd_ >= 0;
    return answers_ == at_ || swap_under_way ? misbehave(fd, answer) : send_all(fd, answer);
}

FaultyServer::After FaultyServer::on_end(int fd) {
    if (fault_ == Fault::stay_open) {
        // Keep it open, but do not spin on the end of file that stays readable.
        pollfd stop{stop_, POLLIN, 0};
        poll(&stop, 1, -1);
        return After::keep;
    }
    if (fault_ == Fault::last_word) send_all(fd, Bytes(buffer_).first(1));
    return After::close;
}

FaultyServer::After FaultyServer::misbehave(int fd, Bytes answer) {
    switch (fault_) {
        case Fault::corrupt:
            answer.back() ^= std::byte{0x10};
            return send_all(fd, answer);
        case Fault::close_early:
            return After::close;
        case Fault::reset: {
            const linger at_once{1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            return After::close;
        }
        case Fault::pause:
            std::this_thread::sleep_for(pause_length);
            return send_all(fd, answer);
        case Fault::drop:
        case Fault::stall:
            return After::keep;
        case Fault::repeat:
            send_all(fd, answer);
            return send_all(fd, answer);
        case Fault::swap: {
            if (held_fd_ < 0) {
                held_fd_ = fd;
                held_.assign(answer.begin(), answer.end());
                return After::keep;
            }
            send_all(std::exchange(held_fd_, -1), answer);
            return send_all(fd, held_);
        }
        default:
            return send_all(fd, answer);
    }
}

FaultyServer::After FaultyServer::send_all(int fd, Bytes bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) return After::close;
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return After::keep;
}

}  // namespace bench
