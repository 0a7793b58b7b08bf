export module ringfort.uring:messages;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :accepts;
import :answers;
import :buffers;
import :loop;

export namespace ringfort::uring {

/// What recvmsg(2) yields of one message, in a buffer of the loop's message pool.
struct Message {
    Lease bytes;                              ///< the message itself
    std::span<const std::byte> name = {};     ///< the sender's socket address, while `bytes` lives
    std::span<const std::byte> control = {};  ///< a sequence of cmsghdr, while `bytes` lives
    std::uint32_t flags = 0;                  ///< MSG_TRUNC and its like
};

/// Awaits a message of a MessageStream.
class NextMessage : public NextOperation {
public:
    using NextOperation::NextOperation;
    [[nodiscard]] Result<Message> await_resume() noexcept;
};

/// Awaits a message that was received before the stream was told to end, or nothing.
class LastMessage : public NextOperation {
public:
    using NextOperation::NextOperation;
    [[nodiscard]] Result<std::optional<Message>> await_resume() noexcept;
};

/// The messages that a datagram socket receives, by one request that goes on receiving
/// (io_uring_prep_recvmsg_multishot(3)).
///
/// Receives ahead of its user, up to `limits::messages_ahead` messages and those of a turn; what
/// comes when all buffers are held stays in the socket's queue, and is dropped there by the kernel
/// when that is full. One task at a time may await. Destroying it drops what nobody has taken: take
/// the `last` before.
class MessageStream {
public:
    /// Opens the loop's pool of message buffers when this is the first stream. `socket` is
    /// borrowed, in blocking mode, and may be closed once the stream is destroyed. Errors: those of
    /// BufferPool::open.
    [[nodiscard]] static Result<MessageStream> open(Loop& loop, RawFd socket);

    /// Awaits the next message. Suspends; cancellable, and no message is lost by it. Errors: those
    /// of recvmsg(2), each once; ECANCELED; ETIMEDOUT.
    [[nodiscard]] inline NextMessage next(std::optional<Milliseconds> limit = {}) noexcept {
        return {*answers_, NextOperation::Kind::next, limit};
    }
    /// The same, by an awaitable that makes something else of the message.
    template <std::derived_from<NextMessage> Next>
    [[nodiscard]] inline Next next_as(std::optional<Milliseconds> limit = {}) noexcept {
        return {*answers_, NextOperation::Kind::next, limit};
    }
    /// Stops receiving, and yields what was received before, errors among it; nothing when that was
    /// all. By an awaitable that makes something else of the message. Suspends until the kernel has
    /// let go; not cancellable. `next` receives again.
    template <std::derived_from<LastMessage> Last = LastMessage>
    [[nodiscard]] inline Last last() noexcept {
        return {*answers_, NextOperation::Kind::last, std::nullopt};
    }
    /// Counts the messages that were received and not taken.
    [[nodiscard]] inline std::size_t pending() const noexcept { return answers_->pending(); }

private:
    explicit MessageStream(Answers* answers) noexcept : answers_{answers} {}

    std::unique_ptr<Answers, Abandon> answers_;
};

}  // namespace ringfort::uring
