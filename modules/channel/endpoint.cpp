module;
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "ringfort/try.h"
module ringfort.channel;

namespace ringfort::channel {
namespace {

// SCM_MAX_FD of the kernel. With room for all that a packet can carry, MSG_CTRUNC means one thing
// only: our table is full.
constexpr std::size_t max_packet_fds = 253;

struct Arrived {
    Fds fds;
    std::size_t count = 0;  // those beyond the capacity of `fds` included: they are closed already
};

// Takes every descriptor of every control message, by its length: the kernel has put them all into
// our table, expected or not.
Arrived take_fds(msghdr& header) {
    Arrived arrived;
    for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr;
         part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(RawFd);
        for (std::size_t index = 0; index < count; ++index) {
            RawFd raw = -1;
            std::memcpy(&raw, CMSG_DATA(part) + index * sizeof raw, sizeof raw);
            Fd fd{raw};
            ++arrived.count;
            if (arrived.fds.size() < limits::max_message_fds) arrived.fds.push(std::move(fd));
        }
    }
    return arrived;
}

// A peer that exits with our messages unread leaves ECONNRESET on our end, reported once and before
// the messages that the peer itself sent: these must still be received.
ssize_t receive_packet(RawFd fd, msghdr& header) {
    bool reset_seen = false;
    const std::size_t control_size = header.msg_controllen;
    while (true) {
        header.msg_controllen = control_size;
        const ssize_t size = ::recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (size >= 0) return size;
        if (errno == EINTR) continue;
        if (errno == ECONNRESET && !std::exchange(reset_seen, true)) continue;
        return size;
    }
}

// Tells the end of the channel from an empty packet: recvmsg returns 0 for both.
bool peer_has_gone(RawFd fd) {
    pollfd query{fd, POLLIN | POLLRDHUP, 0};
    int ready = 0;
    do {
        ready = ::poll(&query, 1, 0);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 && (query.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

}  // namespace

Result<std::pair<Channel, Channel>> Channel::pair() {
    std::array<RawFd, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return Error::last("socketpair");
    return std::pair{Channel{Fd{ends[0]}}, Channel{Fd{ends[1]}}};
}

Channel Channel::adopt(Fd end) {
    return Channel{std::move(end)};
}

Fd Channel::release() && {
    ensure(queue_.empty(), "a channel end is given away with messages queued");
    return std::move(end_);
}

Result<void> Channel::send(const Message& message, Fds fds) {
    const Kind expected = kind(message);
    if (fds.size() < expected.min_fds || fds.size() > expected.max_fds)
        return Error{"send a message: its number of descriptors", std::errc::invalid_argument};
    RF_LET(Packet packet, encode(message));
    if (queue_.empty()) {
        const auto stall = transmit(packet, fds);
        if (!stall) return stall.error();
        stall_ = *stall;
        if (stall_ == Stall::none) return {};
    }
    if (queue_.size() >= limits::channel_queue_messages)
        return Error{"queue a message", std::errc::no_buffer_space};
    queue_.push_back({std::move(packet), std::move(fds)});
    return {};
}

Result<void> Channel::flush() {
    while (!queue_.empty()) {
        const auto stall = transmit(queue_.front().packet, queue_.front().fds);
        if (!stall) return dropped(stall.error());
        stall_ = *stall;
        if (stall_ != Stall::none) return {};
        queue_.pop_front();
    }
    return {};
}

// Keeps a failed message from blocking those behind it; with the peer gone there is nobody left to
// send them to.
Error Channel::dropped(Error error) {
    if (error.is(std::errc::broken_pipe) || error.is(std::errc::connection_reset))
        queue_.clear();
    else
        queue_.pop_front();
    if (queue_.empty()) stall_ = Stall::none;
    return error;
}

Result<Channel::Stall> Channel::transmit(const Packet& packet, const Fds& fds) {
    // sendmsg reads the packet only; iovec has no const.
    iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(RawFd) * limits::max_message_fds)>
        control{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(sizeof(RawFd) * fds.size());
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(RawFd) * fds.size());
        std::array<RawFd, limits::max_message_fds> raw{};
        std::transform(fds.begin(), fds.end(), raw.begin(), [](const Fd& fd) { return fd.get(); });
        std::memcpy(CMSG_DATA(rights), raw.data(), sizeof(RawFd) * fds.size());
    }
    ssize_t sent = -1;
    do {
        sent = ::sendmsg(fd(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) return Stall::none;
    if (errno == EAGAIN) return Stall::socket_full;
    if (errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS)
        return Stall::short_of_resources;
    return Error::last("sendmsg on a channel");
}

Result<std::optional<Received>> Channel::receive() {
    std::array<std::byte, limits::max_message_bytes> packet;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(RawFd) * max_packet_fds)> control;
    iovec part{packet.data(), packet.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t size = receive_packet(fd(), header);
    if (size < 0) {
        if (errno == EAGAIN) return std::nullopt;
        return Error::last("recvmsg on a channel");
    }
    Arrived arrived = take_fds(header);
    if ((header.msg_flags & MSG_TRUNC) != 0)
        return Error{"receive a message: too long", std::errc::message_size};
    if ((header.msg_flags & MSG_CTRUNC) != 0)
        return Error{"receive descriptors", std::errc::too_many_files_open};
    if (size == 0 && arrived.count == 0 && peer_has_gone(fd()))
        return Error{"receive a message", std::errc::connection_reset};
    const std::span whole{packet.data(), static_cast<std::size_t>(size)};
    RF_LET(Message message, decode(whole, arrived.count));
    return Received{std::move(message), std::move(arrived.fds)};
}

}  // namespace ringfort::channel
