module;
#include <netinet/in.h>
#include <netinet/udp.h>
#include <ringfort/try.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {
namespace {

Result<void> set_flag(const Fd& socket, int level, int option, Step step) {
    const int on = 1;
    if (::setsockopt(socket.get(), level, option, &on, sizeof on) != 0) return Error::last(step);
    return {};
}

Result<Fd> make_socket(const Address& address, DatagramOptions options) {
    Fd socket{::socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (!socket) return Error::last("socket");
    if (options.reuse_port)
        RF_TRY(set_flag(socket, SOL_SOCKET, SO_REUSEPORT, "setsockopt(SO_REUSEPORT)"));
    if (options.coalesce && !address.is_unix())
        RF_TRY(set_flag(socket, SOL_UDP, UDP_GRO, "setsockopt(UDP_GRO)"));
    return socket;
}

Address address_in(std::span<const std::byte> name) noexcept {
    if (name.size() <= sizeof(sa_family_t)) return {};
    sockaddr_storage storage{};
    const std::size_t size = std::min(name.size(), sizeof storage);
    std::memcpy(&storage, name.data(), size);
    return Address::from(reinterpret_cast<const sockaddr*>(&storage), static_cast<socklen_t>(size));
}

/// Finds the size of the datagrams that the kernel has joined; 0 when it has not.
std::uint32_t segment_size_in(std::span<const std::byte> control) noexcept {
    while (control.size() >= sizeof(cmsghdr)) {
        cmsghdr head;
        std::memcpy(&head, control.data(), sizeof head);
        if (head.cmsg_len < sizeof head || head.cmsg_len > control.size()) return 0;
        if (head.cmsg_level == SOL_UDP && head.cmsg_type == UDP_GRO &&
            head.cmsg_len >= CMSG_LEN(sizeof(int))) {
            int size = 0;
            std::memcpy(&size, control.data() + CMSG_LEN(0), sizeof size);
            return static_cast<std::uint32_t>(std::max(size, 0));
        }
        control = control.subspan(std::min(CMSG_ALIGN(head.cmsg_len), control.size()));
    }
    return 0;
}

}  // namespace

Result<Packet> ReceivePacket::await_resume() noexcept {
    auto message = NextMessage::await_resume();
    if (!message) return message.error();
    const std::uint32_t segment_size = segment_size_in(message->control);
    const bool one = segment_size >= message->bytes.size();
    return Packet{.sender = address_in(message->name),
                  .bytes = std::move(message->bytes),
                  .segment_size = one ? 0 : segment_size,
                  .truncated = (message->flags & MSG_TRUNC) != 0};
}

SendPacket::SendPacket(uring::Loop& loop, RawFd socket, std::span<const std::byte> bytes,
                       const Address* receiver, std::uint16_t segment_size,
                       std::optional<Milliseconds> limit) noexcept
    : Operation{loop,
                {.opcode = uring::Opcode::send_message,
                 .fd = socket,
                 .address = &message_,
                 .flags = MSG_NOSIGNAL},
                limit} {
    piece_ = {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    message_.msg_iov = &piece_;
    message_.msg_iovlen = 1;
    if (receiver != nullptr) {
        message_.msg_name = const_cast<sockaddr*>(receiver->data());
        message_.msg_namelen = receiver->size();
    }
    if (segment_size > 0 && segment_size < bytes.size()) {
        message_.msg_control = control_.data();
        message_.msg_controllen = control_.size();
        const cmsghdr head{.cmsg_len = CMSG_LEN(sizeof segment_size),
                           .cmsg_level = SOL_UDP,
                           .cmsg_type = UDP_SEGMENT};
        std::memcpy(control_.data(), &head, sizeof head);
        std::memcpy(control_.data() + CMSG_LEN(0), &segment_size, sizeof segment_size);
    }
}

Result<void> SendPacket::await_resume() const noexcept {
    if (result() < 0) return error();
    return {};
}

Result<Datagram> Datagram::adopt(uring::Loop& loop, Fd socket) {
    RF_LET(auto messages, uring::MessageStream::open(loop, socket.get()));
    return Datagram{loop, std::move(socket), std::move(messages)};
}

Result<Datagram> Datagram::bind(uring::Loop& loop, const Address& address,
                                DatagramOptions options) {
    RF_LET(Fd socket, make_socket(address, options));
    if (::bind(socket.get(), address.data(), address.size()) != 0) return Error::last("bind");
    return adopt(loop, std::move(socket));
}

Result<Datagram> Datagram::connect(uring::Loop& loop, const Address& address,
                                   DatagramOptions options) {
    RF_LET(Fd socket, make_socket(address, options));
    if (::connect(socket.get(), address.data(), address.size()) != 0) return Error::last("connect");
    return adopt(loop, std::move(socket));
}

Datagram::~Datagram() {
    messages_.reset();  // before the descriptor's number can be another's
    if (fd_) loop_->close(std::move(fd_));
}

ReceivePacket Datagram::receive(std::optional<Milliseconds> limit) noexcept {
    return messages_->next_as<ReceivePacket>(limit);
}

}  // namespace ringfort::net
