module;
#include <netinet/in.h>
#include <sys/socket.h>
export module ringfort.net:datagram;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import ringfort.uring;
import :stream;

export namespace ringfort::net {

/// One or more datagrams of one sender, in a buffer of the worker's ring.
struct Packet {
    Address sender;  ///< of family AF_UNSPEC for a unix socket without a name
    Chunk bytes;     ///< may be empty: a datagram may be
    /// Bytes of each datagram in `bytes` but the last, which may be shorter; 0: there is only one.
    std::uint32_t segment_size = 0;
    bool truncated = false;  ///< the datagram was longer than the buffer; its end is lost
    /// The address of this machine that it was sent to, without a port; of a datagram to many, the
    /// one to answer from. Of family AF_UNSPEC where that is not known: without IP_PKTINFO or
    /// IPV6_RECVPKTINFO on the socket, or of a multicast of IPv6.
    Address local = {};
};

/// How a datagram socket is made.
struct DatagramOptions {
    bool coalesce = false;    ///< datagrams of one sender may come as one Packet (UDP_GRO)
    bool reuse_port = false;  ///< several sockets may be bound to the address (SO_REUSEPORT)
};

/// Awaits a Packet.
class ReceivePacket : public uring::NextMessage {
public:
    using NextMessage::NextMessage;
    [[nodiscard]] Result<Packet> await_resume() noexcept;
};

/// Awaits a Packet that was received before the socket was told to stop, or nothing.
class LastPacket : public uring::LastMessage {
public:
    using LastMessage::LastMessage;
    [[nodiscard]] Result<std::optional<Packet>> await_resume() noexcept;
};

/// Awaits that a datagram, or several of one size, were handed to the kernel.
class SendPacket : public uring::Operation {
public:
    /// What is sent, to whom (nobody: the connected peer), in pieces of which size (0: in one), and
    /// from which of the machine's addresses (none: as the kernel has it).
    SendPacket(uring::Loop& loop, RawFd socket, std::span<const std::byte> bytes,
               const Address* receiver, std::uint16_t segment_size,
               std::optional<Milliseconds> limit, const Address* sender = nullptr) noexcept;
    [[nodiscard]] Result<void> await_resume() const noexcept;

private:
    void add_control(int level, int type, std::span<const std::byte> value) noexcept;
    void add_sender(const Address& sender) noexcept;

    msghdr message_{};
    iovec piece_{};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(std::uint16_t)) +
                                               CMSG_SPACE(sizeof(in6_pktinfo))> control_{};
};

/// A datagram socket, UDP or unix: owns it. Moves, but not while a task receives or sends. One
/// receive and any number of sends may be in flight at a time. Once the first receive was asked
/// for, the kernel goes on receiving, up to `limits::messages_ahead` datagrams that nobody has
/// taken. Source: udp(7), unix(7).
class Datagram {
public:
    /// Makes a socket that is bound to `address`; port 0 lets the kernel pick. Errors: those of
    /// socket(2), setsockopt(2), bind(2); ENOMEM for the buffers.
    [[nodiscard]] static Result<Datagram> bind(uring::Loop& loop, const Address& address,
                                               DatagramOptions options = {});
    /// Makes a socket that sends to `address` and receives from there alone. Errors: those of
    /// socket(2), setsockopt(2), connect(2); ENOMEM for the buffers.
    [[nodiscard]] static Result<Datagram> connect(uring::Loop& loop, const Address& address,
                                                  DatagramOptions options = {});
    /// Takes over a datagram socket in blocking mode. Errors: ENOMEM for the buffers.
    [[nodiscard]] static Result<Datagram> adopt(uring::Loop& loop, Fd socket);
    Datagram(Datagram&& other) noexcept
        : loop_{other.loop_}, fd_{other.take_fd()}, messages_{std::move(other.messages_)} {}
    Datagram& operator=(Datagram&&) = delete;
    ~Datagram();

    /// Receives what has come first, or waits for it. Suspends; cancellable, and nothing that
    /// arrives is lost by it. Errors: ECONNREFUSED of an earlier send to a connected peer and its
    /// like, each once; ETIMEDOUT after `limit`.
    [[nodiscard]] ReceivePacket receive(std::optional<Milliseconds> limit = {}) noexcept;

    /// Stops receiving, and returns what had been received before; nothing when that was all. What
    /// comes later waits in the socket, for whoever else has it, or for the next `receive`.
    /// Suspends until the kernel has let go; not cancellable. Errors: as for `receive`.
    [[nodiscard]] LastPacket last() noexcept;

    /// Sends one datagram to a receiver; `bytes` and `receiver` must live
    /// until then. Suspends while the socket's buffer is full; cancellable: then nothing was sent.
    /// Errors: EMSGSIZE above 65,507 bytes of IPv4 or 65,527 of IPv6; those of sendmsg(2);
    /// ETIMEDOUT after `limit`.
    [[nodiscard]] inline uring::Counted<SendPacket> send_to(
        const Address& receiver, std::span<const std::byte> bytes,
        std::optional<Milliseconds> limit = {}) noexcept {
        return counted(bytes, &receiver, 0, limit);
    }
    /// The same, to the connected peer.
    [[nodiscard]] inline uring::Counted<SendPacket> send(
        std::span<const std::byte> bytes, std::optional<Milliseconds> limit = {}) noexcept {
        return counted(bytes, nullptr, 0, limit);
    }
    /// The same as `send_to`, from one of the machine's addresses: a `Packet::local`. Of a socket
    /// that is bound to a wildcard; of family AF_UNSPEC the kernel chooses. Errors besides: EINVAL
    /// for an address that the machine does not have. Source: ip(7), IP_PKTINFO; RFC 3542, 6.
    [[nodiscard]] inline uring::Counted<SendPacket> send_from(
        const Address& sender, const Address& receiver, std::span<const std::byte> bytes,
        std::optional<Milliseconds> limit = {}) noexcept {
        return counted(bytes, &receiver, 0, limit, &sender);
    }
    /// Sends `bytes` as datagrams of `segment_size` bytes each, the last perhaps shorter, in one
    /// pass through the kernel (UDP_SEGMENT). Errors besides those of `send_to`: EINVAL for more
    /// than 64 segments (newer kernels, 6.18 for one: 128) or one longer than the path takes. All
    /// together may be as long as one datagram; EMSGSIZE beyond. Source: udp(7).
    [[nodiscard]] inline uring::Counted<SendPacket> send_segments_to(
        const Address& receiver, std::span<const std::byte> bytes, std::uint16_t segment_size,
        std::optional<Milliseconds> limit = {}) noexcept {
        return counted(bytes, &receiver, segment_size, limit);
    }
    /// The same, to the connected peer.
    [[nodiscard]] inline uring::Counted<SendPacket> send_segments(
        std::span<const std::byte> bytes, std::uint16_t segment_size,
        std::optional<Milliseconds> limit = {}) noexcept {
        return counted(bytes, nullptr, segment_size, limit);
    }

    /// Returns the socket; it stays owned by this.
    [[nodiscard]] inline RawFd fd() const noexcept { return fd_.get(); }
    /// Asks which address the socket is bound to. Errors: those of getsockname(2).
    [[nodiscard]] inline Result<Address> address() const { return Address::of_socket(fd_.get()); }

private:
    Datagram(uring::Loop& loop, Fd socket, uring::MessageStream messages) noexcept
        : loop_{&loop}, fd_{std::move(socket)}, messages_{std::move(messages)} {}
    [[nodiscard]] inline uring::Counted<SendPacket> counted(
        std::span<const std::byte> bytes, const Address* receiver, std::uint16_t segment_size,
        std::optional<Milliseconds> limit, const Address* sender = nullptr) noexcept {
        return {sends_, [&] {
                    return SendPacket{*loop_,       fd_.get(), bytes, receiver,
                                      segment_size, limit,     sender};
                }};
    }
    [[nodiscard]] inline Fd take_fd() noexcept {
        ensure(sends_ == 0, "a datagram socket was moved or destroyed while a task sends by it");
        return std::move(fd_);
    }

    uring::Loop* loop_;
    Fd fd_;
    std::uint32_t sends_ = 0;  ///< that tasks await
    std::optional<uring::MessageStream> messages_;
};

/// A packet of a listener, and the way back to who has sent it. Owns the packet's buffer, and holds
/// the socket: one that a task keeps keeps both.
class Delivery {
public:
    Delivery(std::shared_ptr<Datagram> socket, Packet packet) noexcept
        : socket_{std::move(socket)}, packet_{std::move(packet)} {}

    /// Return what has come and from whom, while this lives.
    [[nodiscard]] const Packet& packet() const noexcept { return packet_; }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return packet_.bytes.bytes();
    }
    [[nodiscard]] const Address& sender() const noexcept { return packet_.sender; }

    /// Sends a datagram to the sender, from the address that it had written to. `bytes`, which may
    /// be those received, and this must live until then. Suspends while the socket's buffer is
    /// full; cancellable. Errors: those of `Datagram::send_from`; EDESTADDRREQ when the sender has
    /// no address.
    [[nodiscard]] uring::Counted<SendPacket> reply(
        std::span<const std::byte> bytes, std::optional<Milliseconds> limit = {}) noexcept {
        return socket_->send_from(packet_.local, packet_.sender, bytes, limit);
    }
    /// Sends a datagram to somebody else, from the listener's port. As `Datagram::send_to`.
    [[nodiscard]] uring::Counted<SendPacket> send_to(
        const Address& receiver, std::span<const std::byte> bytes,
        std::optional<Milliseconds> limit = {}) noexcept {
        return socket_->send_to(receiver, bytes, limit);
    }

private:
    std::shared_ptr<Datagram> socket_;
    Packet packet_;
};

}  // namespace ringfort::net
