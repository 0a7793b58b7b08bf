export module ringfort.worker:peers;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.std;

export namespace ringfort::worker {

/// Another worker, by its generation and its slot there.
struct PeerId {
    std::uint32_t generation = 0;
    std::uint32_t slot = 0;
    friend auto operator<=>(const PeerId&, const PeerId&) = default;
};

/// What a service tells the service of the same name in another worker.
struct PeerMessage {
    std::string service;     ///< its name, 1 to `limits::max_service_name_bytes` bytes
    std::uint32_t type = 0;  ///< the application's own
    std::string bytes = {};  ///< any, up to `limits::max_peer_message_bytes`
    Fd fd = {};              ///< if set, it is the receiver's from then on
    PeerId from = {};        ///< who sent it; known to the receiver only
};

/// The channels to the other workers, opened and closed by the master's commands.
class Peers {
public:
    using Key = PeerId;

    /// Takes one end of a channel to `peer` and greets it as `self`. A channel that was open to the
    /// same peer is replaced.
    void open(Key self, Key peer, Fd end);
    /// Closes the channel to `peer`; does nothing when there is none.
    void close(Key peer) noexcept;
    void close_all() noexcept { channels_.clear(); }
    [[nodiscard]] std::size_t size() const noexcept { return channels_.size(); }
    /// Returns those to which a channel is open, in order.
    [[nodiscard]] std::vector<Key> all() const;

    /// Sends a message, or queues it behind others. Errors: ENOTCONN: no channel is open to `peer`;
    /// ENOBUFS: `limits::peer_queue_messages` wait for it already; EINVAL: a field out of its
    /// bounds; EPIPE: it has just gone. After an error it is not sent, and its fd closed.
    [[nodiscard]] Result<void> send(Key peer, PeerMessage message);
    /// Sends what is queued, as far as the sockets have room; returns whether something waits.
    [[nodiscard]] bool flush();
    /// Is set when something has begun to wait.
    [[nodiscard]] coro::Event& stalled() noexcept { return stalled_; }

    /// Receives the next message of `peer`; nothing when none is there now. With an error its
    /// channel is closed, here: ENOTCONN, ECONNRESET: it has gone; others: it sent what it must not
    /// send, as garbage or anything before its greeting.
    [[nodiscard]] Result<std::optional<PeerMessage>> receive(Key peer);
    /// Returns the channel to `peer`; null when there is none. Who polls its descriptor holds it
    /// until then: epoll says nothing more of one that is closed.
    [[nodiscard]] std::shared_ptr<const channel::Channel> channel(Key peer) const noexcept;

private:
    struct Open {
        channel::Channel channel;
        bool greeted = false;  ///< by it
    };
    [[nodiscard]] static Result<std::optional<PeerMessage>> next(Key peer, Open& open);

    std::map<Key, std::shared_ptr<Open>> channels_;
    coro::Event stalled_;
};

}  // namespace ringfort::worker
