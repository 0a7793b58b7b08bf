export module ringfort.uring:receiver;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :buffers;
import :multishot;
import :request;

export namespace ringfort::uring {

class Hangups;
class Loop;
class Receiver;

/// Whether a receive asks the kernel for more when nothing has arrived.
enum class ReceiveWhat : std::uint8_t {
    more,
    rest  ///< of a receiver that was paused: what arrives until the kernel has let go of it
};

/// Awaits bytes of a Receiver; an empty lease means that the peer has closed its half, or, where
/// the rest was asked for, that the kernel delivers no more.
///
/// Cancelling and the time limit end the waiting alone: what arrives later is kept for the next
/// receive. Errors: those of recv(2); ECANCELED; ETIMEDOUT.
class ReceiveOperation : public MultishotWait {
public:
    inline ReceiveOperation(Receiver& receiver, std::optional<Milliseconds> limit,
                            ReceiveWhat what = ReceiveWhat::more) noexcept;

    template <coro::TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] inline Result<Lease> await_resume() noexcept {
        if (!lease_.empty()) [[likely]]
            return std::move(lease_);
        return outcome();
    }

private:
    friend class Receiver;

    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    bool begin_otherwise(std::coroutine_handle<> task, const coro::Context& context);
    [[nodiscard]] Result<Lease> outcome() noexcept;
    [[nodiscard]] inline Receiver& receiver() const noexcept;

    Lease lease_;  ///< what arrived while it waited
    ReceiveWhat what_;
};

/// What a socket receives: one request of the ring that goes on delivering (multishot), and the
/// bytes that nobody has taken yet.
///
/// Its life: idle -> armed -> ended, and back to idle when the kernel stops delivering without the
/// stream's end: out of buffers, out of room for completions, or because it has delivered
/// `limits::receive_burst` bytes, the most that one turn brings. It is told to stop when
/// `limits::receive_ahead` of them wait to be taken. Owned by the loop once `close` was called, and
/// destroyed when the kernel has let go of it.
///
/// While several sockets bring large pieces (see Crowd), of one that mostly brings such
/// (`limits::direct_transfer`) the kernel is asked to tell when there is something instead (a
/// multishot poll), and each piece is received by a call of its own, when a task waits for it and
/// right before that goes on: what it passes on is in the processor's cache then, and the buffer
/// that it gives back is the next one's.
///
/// Where others hold all buffers, the kernel is asked to wait for bytes before it looks for one,
/// and bytes for which it then finds none are received into memory of their own.
class Receiver : private Multishot {
public:
    /// Makes the receiver of a socket in blocking mode, which stays with the caller.
    inline Receiver(Loop& loop, RawFd socket) noexcept
        : Multishot{loop, Taker::receiver}, socket_{socket} {}

    /// Stops receiving, drops what has arrived, and closes `socket` when the kernel has been told.
    void close(Fd socket) noexcept;

    /// Stops asking the kernel for more; what has arrived can still be received.
    void pause() noexcept;
    using Multishot::armed;
    /// Tells whether the peer has closed its half or the socket has failed, as far as is known: of
    /// one that is polled, when all before it was received. What arrived before can still be
    /// received.
    [[nodiscard]] inline bool ended() const noexcept { return ended_; }
    /// Returns what it has ended with, unless it goes on or the peer has closed its half.
    [[nodiscard]] inline std::optional<Error> failure() const noexcept {
        if (end_ < 0) return Error{"receive", -end_};
        return {};
    }
    /// Counts the bytes that have arrived and were not taken.
    [[nodiscard]] inline std::size_t pending() const noexcept { return bytes_; }

private:
    friend class Hangups;
    friend class Loop;
    friend class Multishot;
    friend class ReceiveOperation;
    /// What the loop's Hangups know of it: nothing, that bytes have come, or not since the last
    /// look.
    enum class Watch : std::uint8_t { none, fresh, stale };
    /// Whether a socket that is polled has something to be received.
    enum class Readable : std::uint8_t { no, some, to_its_end };
    /// Bytes that wait to be taken, adjoining ones as one.
    struct Piece {
        Lease lease;
        Piece* next = nullptr;
    };

    /// Pieces that are not in use, so that receiving allocates nothing.
    class Pieces {
    public:
        [[nodiscard]] Piece* take();
        inline void give_back(Piece* piece) noexcept { piece->next = std::exchange(free_, piece); }

    private:
        static constexpr std::size_t block = 64;
        Piece* free_ = nullptr;
        std::vector<std::unique_ptr<Piece[]>> blocks_;
    };

    ~Receiver();
    /// Tells whether the kernel has been asked for more, and nobody has paused that, and what it
    /// brings is to be waited for.
    [[nodiscard]] inline bool asked() const noexcept {
        return armed() && !paused_ && readable_ == Readable::no;
    }
    [[nodiscard]] inline bool ready() const noexcept { return first_ != nullptr || ended_; }
    [[nodiscard]] Request request() const noexcept;
    [[clang::preserve_most]] void ask() noexcept;
    void rearm() noexcept;
    [[clang::preserve_most]] void arrived_early(Lease arrived) noexcept;
    [[nodiscard]] bool fed() noexcept;
    [[nodiscard]] bool receive_copy() noexcept;
    void receive_soon() noexcept;
    void receive_directly() noexcept;
    [[clang::preserve_most]] void readable(int result, std::uint32_t flags) noexcept;
    [[clang::preserve_most]] void weigh(std::size_t bytes) noexcept;
    /// Tells whether so much waits to be taken that no more is to be received ahead.
    [[nodiscard]] inline bool ahead() const noexcept {
        return bytes_ > limits::receive_ahead.count / 2;
    }
    void complete(int result, std::uint32_t flags) noexcept;
    void completed_last(int result) noexcept;
    [[clang::preserve_most]] void watch() noexcept;
    void keep(Lease arrived) noexcept;
    void drop_pieces() noexcept;
    [[nodiscard]] Result<Lease> take() noexcept;

    Watch watch_ = Watch::none;
    bool ended_ = false;
    bool paused_ : 1 = false;
    bool closed_ : 1 = false;
    bool hungry_ : 1 = false;  ///< asked to wait for bytes before a buffer is looked for
    bool counts_ : 1 = false;  ///< the socket says how much is left in it
    bool turns_ : 1 = false;   ///< was asked to stop, to be polled
    Readable readable_ : 2 = Readable::no;
    bool polled_ = false;  ///< asked to tell when there is something
    /// Of late: at `limits::direct_after` it is to be polled, in a crowd, at 0 no more, and what
    /// comes in between changes nothing; down to half of it may go while it turns.
    std::uint8_t weight_ = 0;
    std::uint8_t counted_in_ = 0;  ///< the turn of the loop's Crowd that has last counted it
    Piece* first_ = nullptr;       ///< and all above: what each completion looks at
    Piece* last_ = nullptr;
    std::size_t bytes_ = 0;
    RawFd socket_;
    int end_ = 0;  ///< once ended: 0 or -errno
};

static_assert(sizeof(Receiver) <= 152);  // every idle connection has one

/// See the declaration.
inline ReceiveOperation::ReceiveOperation(Receiver& receiver, std::optional<Milliseconds> limit,
                                          ReceiveWhat what) noexcept
    : MultishotWait{&receiver, limit}, what_{what} {}

/// See the declaration.
inline Receiver& ReceiveOperation::receiver() const noexcept {
    return static_cast<Receiver&>(*request());
}

}  // namespace ringfort::uring
