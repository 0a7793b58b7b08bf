export module ringfort.channel:endpoint;

import ringfort.base;
import ringfort.std;
import :fds;
import :message;
import :wire;

export namespace ringfort::channel {

/// A validated message and the descriptors that came with it: exactly as many as its kind carries,
/// all close-on-exec, owned by the receiver.
struct Received {
    Message message;
    Fds fds;
};

/// Owns one end of a channel between two processes and the messages that wait for room in it. No
/// call blocks. Moves, never copies. Destruction closes the end and drops what is still queued.
///
/// The caller polls `fd()`: readable or hung up -> `receive` until it returns nothing or an error;
/// writable, asked for only while `wants_write()` -> `flush`.
class Channel {
public:
    /// Makes both ends, close-on-exec and non-blocking. EOF comes only when every copy of the other
    /// end is closed: a forked child closes the ends that are not its own. Errors: EMFILE, ENFILE,
    /// ENOMEM.
    [[nodiscard]] static Result<std::pair<Channel, Channel>> pair();
    /// Takes an end made by `pair`, here or in another process.
    [[nodiscard]] static Channel adopt(Fd end);

    /// Sends now, or queues in order when the socket is full or the kernel short of memory. Takes
    /// `fds`, which are closed once sent, and on every error; the caller duplicates what it keeps.
    /// Errors: EINVAL for a field out of range or a number of fds the type does not carry; ENOBUFS
    /// with `limits::channel_queue_messages` queued already (what is queued stays); EPIPE or
    /// ECONNRESET when the peer has gone (the queue is dropped; what the peer sent before can still
    /// be received); others of sendmsg(2). After an error this message is not sent.
    [[nodiscard]] Result<void> send(const Message& message, Fds fds = {});

    /// Sends what is queued until the socket is full. Errors: EPIPE or ECONNRESET when the peer has
    /// gone, the queue is dropped; others of sendmsg(2), with which the oldest message is dropped.
    [[nodiscard]] Result<void> flush();

    /// Says whether to poll for writability and then flush.
    [[nodiscard]] bool wants_write() const noexcept { return stall_ == Stall::socket_full; }
    /// Says whether to flush again after `limits::channel_retry_ms`: the kernel was out of memory
    /// or this user has too many descriptors in flight, and no poll tells when that ends.
    [[nodiscard]] bool wants_retry() const noexcept { return stall_ == Stall::short_of_resources; }
    /// Counts the messages waiting to be sent.
    [[nodiscard]] std::size_t queued() const noexcept { return queue_.size(); }

    /// Returns the next message, or nothing when none is there now. With an error, everything
    /// that came with the message is closed and the message is lost. Errors:
    /// ECONNRESET: the peer has gone and all it sent has been received.
    /// EBADMSG, EPROTO (see `decode`), EMSGSIZE (longer than `limits::max_message_bytes`): the peer
    /// sends garbage; the next packet can still be received.
    /// EMFILE: this process's descriptor table is full, a message and its descriptors are lost.
    /// Others of recvmsg(2).
    [[nodiscard]] Result<std::optional<Received>> receive();

    /// Returns the socket, to poll.
    [[nodiscard]] RawFd fd() const noexcept { return end_.get(); }

    /// Gives the end away, to pass it to another process. Aborts if messages are queued.
    [[nodiscard]] Fd release() &&;

private:
    enum class Stall : std::uint8_t { none, socket_full, short_of_resources };
    struct Queued {
        Packet packet;
        Fds fds;
    };

    explicit Channel(Fd end) noexcept : end_{std::move(end)} {}
    Result<Stall> transmit(const Packet& packet, const Fds& fds);
    Error dropped(Error error);

    Fd end_;
    std::deque<Queued> queue_;
    Stall stall_ = Stall::none;
};

}  // namespace ringfort::channel
