export module ringfort.uring:socket;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :counted;
import :gather;
import :loop;
import :operation;
import :buffers;
import :post;
import :receiver;
import :sender;
import :zero_copy;

export namespace ringfort::uring {

/// A connected socket on a loop: owns the descriptor and what it receives. Moves, but not while a
/// task sends or receives. Closes at the end of the turn in which it is destroyed, when the kernel
/// has been told to stop receiving. One receive and one send may be in flight at a time.
class Socket {
public:
    /// Takes over a connected socket in blocking mode. Nothing is received before it is asked for.
    inline Socket(Loop& loop, Fd fd) noexcept : loop_{&loop}, fd_{std::move(fd)} {}
    Socket(Socket&& other) noexcept
        : loop_{other.loop_},
          fd_{other.take_fd()},
          receiver_{std::exchange(other.receiver_, nullptr)},
          sender_{std::move(other.sender_)} {}
    inline Socket& operator=(Socket&& other) noexcept {
        if (this != &other) {
            close();
            loop_ = other.loop_;
            fd_ = other.take_fd();
            receiver_ = std::exchange(other.receiver_, nullptr);
            sender_ = std::move(other.sender_);
        }
        return *this;
    }
    inline ~Socket() { close(); }

    /// Awaits bytes; see ReceiveOperation.
    [[nodiscard]] inline ReceiveOperation receive(std::optional<Milliseconds> limit = {}) noexcept {
        return {receiver(), limit};
    }
    /// Awaits what the kernel still delivers after `receiver().pause()`; an empty lease when it has
    /// let go of the socket, or the peer has closed its half: see Receiver::ended.
    [[nodiscard]] inline ReceiveOperation receive_rest() noexcept {
        return {receiver(), {}, ReceiveWhat::rest};
    }
    /// Awaits that some of `bytes` is sent; see Loop::send.
    [[nodiscard]] Counted<NumberOperation> send(std::span<const std::byte> bytes) noexcept {
        return {sends_, [&] { return loop_->send(free_to_send(), bytes); }};
    }
    /// Awaits that all of `bytes` is sent; see Loop::send_all.
    [[nodiscard]] Counted<SendOperation> send_all(std::span<const std::byte> bytes,
                                                  std::optional<Milliseconds> limit = {}) noexcept {
        return {sends_, [&] { return loop_->send_all(free_to_send(), bytes, limit); }};
    }
    [[nodiscard]] Counted<GatheredSend> send_all(Pieces pieces,
                                                 std::optional<Milliseconds> limit = {}) noexcept {
        return {sends_, [&] { return loop_->send_all(free_to_send(), pieces, limit); }};
    }
    /// Awaits that all of `bytes` is sent, without a copy; see ZeroCopySend.
    [[nodiscard]] Counted<ZeroCopySend> send_zero_copy(
        std::span<const std::byte> bytes, std::optional<Milliseconds> limit = {}) noexcept {
        return {sends_, [&] { return ZeroCopySend{*loop_, free_to_send(), bytes, limit}; }};
    }
    /// Hands `piece` over to be sent, in order, while the task does something else; awaits only
    /// that less than `limits::send_behind` bytes, in a few pieces, are on their way. A later call
    /// tells of what could not be sent; closing drops what the socket
    /// does not take at once. See PostOperation. Any other
    /// send before a `flush` aborts: it would overtake.
    [[nodiscard]] inline PostOperation post(Lease&& piece,
                                            std::optional<Milliseconds> limit = {}) noexcept {
        return {loop_->senders(), sender_, fd_.get(), std::move(piece), PostUntil::room, limit};
    }
    /// Awaits that everything posted was sent.
    [[nodiscard]] inline PostOperation flush(std::optional<Milliseconds> limit = {}) noexcept {
        return {loop_->senders(), sender_, fd_.get(), {}, PostUntil::sent, limit};
    }
    /// Returns what the socket receives; it stays owned by the socket.
    [[nodiscard]] inline Receiver& receiver() noexcept {
        if (receiver_ == nullptr) receiver_ = new Receiver{*loop_, fd_.get()};
        return *receiver_;
    }
    /// Has `hook` told at once when a posted send fails; nullptr: nobody.
    inline void on_send_failure(SendFailureHook* hook) noexcept { sender_.tell(hook); }
    /// Tells whether something posted is still to be sent.
    [[nodiscard]] inline bool sends() const noexcept { return sender_.sends(); }
    /// Counts the posted bytes that the socket has not confirmed to have taken.
    [[nodiscard]] inline std::size_t unsent() const noexcept { return sender_.pending(); }
    [[nodiscard]] inline RawFd fd() const noexcept { return fd_.get(); }
    [[nodiscard]] inline Loop& loop() const noexcept { return *loop_; }
    /// Closes now, as the destructor does.
    void close() noexcept;

private:
    [[nodiscard]] inline RawFd free_to_send() const noexcept {
        ensure(!sender_.sends(), "a send would overtake what was posted: flush first");
        return fd_.get();
    }
    [[nodiscard]] inline Fd take_fd() noexcept {
        ensure(sends_ == 0, "a stream was moved while a task sends to it");
        return std::move(fd_);
    }

    Loop* loop_;
    Fd fd_;
    std::uint32_t sends_ = 0;  ///< that tasks await
    Receiver* receiver_ = nullptr;
    SenderSlot sender_;
};

static_assert(sizeof(Socket) <= 40);  // every idle connection has one

}  // namespace ringfort::uring
