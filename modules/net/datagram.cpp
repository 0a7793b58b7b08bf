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

/// What the kernel says of a datagram beside its bytes.
struct Remarks {
    std::uint32_t segment_size = 0;  ///< of the datagrams that it has joined; 0: it has not
    Address local;
};

template <class Value>
std::optional<Value> value_of(const cmsghdr& head, std::span<const std::byte> control, int level,
                              int type) noexcept {
    Value value;
    if (head.cmsg_level != level || head.cmsg_type != type ||
        head.cmsg_len < CMSG_LEN(sizeof value))
        return {};
    std::memcpy(&value, control.data() + CMSG_LEN(0), sizeof value);
    return value;
}

Address address_of(const in_pktinfo& info) noexcept {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr = info.ipi_spec_dst;  // of a broadcast the interface's own
    return Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

Address address_of(const in6_pktinfo& info) noexcept {
    if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) return {};  // nobody can send from it
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) address.sin6_scope_id = info.ipi6_ifindex;
    return Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

Remarks remarks_in(std::span<const std::byte> control) noexcept {
    Remarks remarks;
    while (control.size() >= sizeof(cmsghdr)) {
        cmsghdr head;
        std::memcpy(&head, control.data(), sizeof head);
        if (head.cmsg_len < sizeof head || head.cmsg_len > control.size()) break;
        if (const auto size = value_of<int>(head, control, SOL_UDP, UDP_GRO))
            remarks.segment_size = static_cast<std::uint32_t>(std::max(*size, 0));
        if (const auto info = value_of<in_pktinfo>(head, control, IPPROTO_IP, IP_PKTINFO))
            remarks.local = address_of(*info);
        if (const auto info = value_of<in6_pktinfo>(head, control, IPPROTO_IPV6, IPV6_PKTINFO))
            remarks.local = address_of(*info);
        control = control.subspan(std::min(CMSG_ALIGN(head.cmsg_len), control.size()));
    }
    return remarks;
}

Packet packet_of(uring::Message message) noexcept {
    const Remarks remarks = remarks_in(message.control);
    const bool one = remarks.segment_size >= message.bytes.size();
    const Address sender = address_in(message.name);
    return {.sender = sender,
            .bytes = std::move(message.bytes),
            .segment_size = one ? 0 : remarks.segment_size,
            .truncated = (message.flags & MSG_TRUNC) != 0,
            .local = remarks.local};
}

}  // namespace

Result<Packet> ReceivePacket::await_resume() noexcept {
    auto message = NextMessage::await_resume();
    if (!message) return message.error();
    return packet_of(*std::move(message));
}

Result<std::optional<Packet>> LastPacket::await_resume() noexcept {
    auto message = LastMessage::await_resume();
    if (!message) return message.error();
    if (!*message) return std::optional<Packet>{};
    return std::optional<Packet>{packet_of(**std::move(message))};
}

SendPacket::SendPacket(uring::Loop& loop, RawFd socket, std::span<const std::byte> bytes,
                       const Address* receiver, std::uint16_t segment_size,
                       std::optional<Milliseconds> limit, const Address* sender) noexcept
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
    if (segment_size > 0 && segment_size < bytes.size())
        add_control(SOL_UDP, UDP_SEGMENT, std::as_bytes(std::span{&segment_size, 1}));
    if (sender != nullptr) add_sender(*sender);
}

void SendPacket::add_control(int level, int type, std::span<const std::byte> value) noexcept {
    const cmsghdr head{.cmsg_len = CMSG_LEN(value.size()), .cmsg_level = level, .cmsg_type = type};
    std::byte* const place = control_.data() + message_.msg_controllen;
    std::memcpy(place, &head, sizeof head);
    std::memcpy(place + CMSG_LEN(0), value.data(), value.size());
    message_.msg_control = control_.data();
    message_.msg_controllen += CMSG_SPACE(value.size());
}

void SendPacket::add_sender(const Address& sender) noexcept {
    if (sender.family() == AF_INET) {
        // Not the interface: which way an answer goes is the routes' to say.
        in_pktinfo info{};
        info.ipi_spec_dst = reinterpret_cast<const sockaddr_in*>(sender.data())->sin_addr;
        add_control(IPPROTO_IP, IP_PKTINFO, std::as_bytes(std::span{&info, 1}));
    } else if (sender.family() == AF_INET6) {
        const auto& address = *reinterpret_cast<const sockaddr_in6*>(sender.data());
        in6_pktinfo info{};
        info.ipi6_addr = address.sin6_addr;
        info.ipi6_ifindex = address.sin6_scope_id;  // 0 but of a link's own address
        add_control(IPPROTO_IPV6, IPV6_PKTINFO, std::as_bytes(std::span{&info, 1}));
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
    if (Fd fd = take_fd()) loop_->close(std::move(fd));
}

ReceivePacket Datagram::receive(std::optional<Milliseconds> limit) noexcept {
    return messages_->next_as<ReceivePacket>(limit);
}

LastPacket Datagram::last() noexcept {
    return messages_->last<LastPacket>();
}

}  // namespace ringfort::net
