export module ringfort.net:stream;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import ringfort.uring;

export namespace ringfort::net {

/// Received bytes in a buffer of the worker's ring; gives it back when it ends.
using Chunk = uring::Lease;

/// A connected byte stream, TCP or unix: owns the socket. Moves, but not while a task receives from
/// it or sends to it. One receive and one send may be in flight at a time. Once the first receive
/// was asked for, the kernel goes on receiving until `limits::receive_ahead` bytes wait to be
/// taken, or at once `limits::receive_burst`.
class Stream {
public:
    /// Takes over a connected socket in blocking mode.
    inline Stream(uring::Loop& loop, Fd socket) noexcept : socket_{loop, std::move(socket)} {}

    /// Receives what is there, or waits for it; an empty chunk means that the peer has closed its
    /// half. Suspends; cancellable, and nothing that arrives is lost by it. Errors: ECONNRESET and
    /// its like, ETIMEDOUT after `limit`.
    [[nodiscard]] inline uring::ReceiveOperation receive(
        std::optional<Milliseconds> limit = {}) noexcept {
        return socket_.receive(limit);
    }
    /// Sends every byte; `bytes` must live until then. Suspends; cancellable: then some bytes may
    /// have gone. Errors: EPIPE, ECONNRESET, ETIMEDOUT after `limit`.
    [[nodiscard]] uring::Counted<uring::SendOperation> send_all(
        std::span<const std::byte> bytes, std::optional<Milliseconds> limit = {}) noexcept {
        return socket_.send_all(bytes, limit);
    }
    [[nodiscard]] uring::Counted<uring::SendOperation> send_all(
        const Chunk& chunk, std::optional<Milliseconds> limit = {}) noexcept {
        return send_all(chunk.bytes(), limit);
    }
    [[nodiscard]] uring::Counted<uring::SendOperation> send_all(
        std::string_view text, std::optional<Milliseconds> limit = {}) noexcept {
        return send_all(std::as_bytes(std::span{text}), limit);
    }
    /// Sends every byte of several pieces, in their order; they and their list must live until
    /// then.
    [[nodiscard]] uring::Counted<uring::GatheredSend> send_all(
        uring::Pieces pieces, std::optional<Milliseconds> limit = {}) noexcept {
        return socket_.send_all(pieces, limit);
    }

    /// Sends every byte from where it is, without a copy, and waits until the kernel has let go of
    /// them; `bytes` must live until then. Where that pays, what else it waits for, and what it
    /// falls back to: see uring::ZeroCopySend. Otherwise as `send_all`.
    [[nodiscard]] uring::Counted<uring::ZeroCopySend> send_zero_copy(
        std::span<const std::byte> bytes, std::optional<Milliseconds> limit = {}) noexcept {
        return socket_.send_zero_copy(bytes, limit);
    }

    /// Hands `chunk` over to be sent, in order, while the task does something else, such as to
    /// receive the next one: what costs least where received bytes are passed on. Suspends only
    /// while `limits::send_behind` bytes are on their way; cancellable, and then `chunk` is gone
    /// and was not sent. Errors: those of `send_all`, of this chunk or of an earlier one. `flush`
    /// before any other send, which aborts otherwise, and before the stream ends: closing drops
    /// what the socket does not take at once.
    [[nodiscard]] inline uring::PostOperation post(
        Chunk&& chunk, std::optional<Milliseconds> limit = {}) noexcept {
        return socket_.post(std::move(chunk), limit);
    }
    /// Waits until all that was posted is sent. Suspends; cancellable. Errors: as `post`.
    [[nodiscard]] inline uring::PostOperation flush(
        std::optional<Milliseconds> limit = {}) noexcept {
        return socket_.flush(limit);
    }

    /// Closes the sending half: the peer reads to the end. What was posted has to be flushed
    /// before. Does not block. Errors: ENOTCONN.
    [[nodiscard]] Result<void> shutdown_write() noexcept;
    /// Makes the coming close reset the connection instead of ending it in order: the peer learns
    /// that not everything was relayed. TCP only; does nothing for unix sockets.
    void reset_on_close() noexcept;

    /// Returns the socket on its loop, for what moves bytes in its own way.
    [[nodiscard]] inline uring::Socket& socket() noexcept { return socket_; }
    /// Returns the descriptor; it stays owned by the stream.
    [[nodiscard]] inline RawFd fd() const noexcept { return socket_.fd(); }
    /// Asks who is at the other end. Errors: those of getpeername(2).
    [[nodiscard]] Result<Address> peer() const;

private:
    uring::Socket socket_;
};

/// Closes a stream so that its peer reads an end and no reset: sends what was posted, closes the
/// sending half, then drops what still arrives until the peer closes too; the first and the last
/// for at most `limits::linger_timeout_ms` each. Suspends;
/// cancellable. Source: RFC 9112 section 9.6 says why.
[[nodiscard]] coro::Task<void> close_gently(Stream stream);

/// What a service needs of the thing it talks through.
template <class S>
concept ByteStream = requires(S stream, std::span<const std::byte> bytes) {
    { stream.receive().await_resume() } -> std::same_as<Result<Chunk>>;
    { stream.send_all(bytes).await_resume() } -> std::same_as<Result<void>>;
    { stream.shutdown_write() } -> std::same_as<Result<void>>;
};
static_assert(ByteStream<Stream>);

}  // namespace ringfort::net
