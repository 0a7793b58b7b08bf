export module ringfort.uring:loop;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :batching;
import :buffers;
import :crowd;
import :driver;
import :gather;
import :multishot;
import :operation;
import :ration;
import :hangups;
import :receiver;
import :request;
import :restriction;
import :sender;

export namespace ringfort::uring {

/// How large a loop's ring and buffers are.
struct LoopOptions {
    std::uint32_t submissions = limits::ring_submissions;
    std::uint32_t completions = limits::ring_completions;
    std::uint32_t receive_buffers = limits::receive_buffers;          ///< at the start
    std::uint32_t max_receive_buffers = limits::max_receive_buffers;  ///< at most 32768
    Bytes receive_buffer_size = limits::receive_buffer_size;
    std::uint32_t message_buffers = limits::message_buffers;          ///< datagrams, at the start
    std::uint32_t max_message_buffers = limits::max_message_buffers;  ///< at most 32768
    Bytes message_buffer_size = limits::message_buffer_size;          ///< bounds a datagram
    std::uint32_t direct_sockets = limits::direct_sockets;            ///< 0: always; see Crowd
    Features features = {};  ///< what is used of what the kernel has
    Backend backend = Backend::automatic;
    std::optional<Permits> permits = {};  ///< absent: the ring is not restricted
};

/// How much the loop has done: for benchmarks and the log.
struct LoopStatistics {
    std::uint64_t turns = 0;  ///< one system call each, direct transfers aside
    std::uint64_t completions = 0;
    std::uint64_t starved = 0;    ///< receives that found no buffer
    std::uint64_t direct = 0;     ///< calls that receive for one socket alone
    std::uint64_t overflows = 0;  ///< turns whose completions did not fit the queue
};

/// The event loop of one thread. Make it in the process and thread that runs it; never fork with
/// one.
class Loop {
public:
    /// Makes ring, buffers and timers. Errors: those of io_uring_setup(2) and mmap(2); `diagnose`
    /// says what they mean on this machine.
    [[nodiscard]] static Result<std::unique_ptr<Loop>> open(const LoopOptions& options = {});
    Loop(Loop&&) = delete;
    ~Loop();

    /// Runs until `task` has ended, and returns its value. Blocks. Not to be nested.
    template <class T>
    T run(coro::Task<T> task);

    /// Give access to the loop's parts, valid as long as the loop lives.
    [[nodiscard]] inline coro::Scheduler& scheduler() noexcept { return scheduler_; }
    [[nodiscard]] inline const BufferPool& buffers() const noexcept { return buffers_; }
    [[nodiscard]] inline const BufferPool& message_buffers() const noexcept {
        return message_buffers_;
    }
    [[nodiscard]] inline const Features& features() const noexcept { return driver_.features(); }
    /// Returns what sends what was posted.
    [[nodiscard]] inline Senders& senders() noexcept { return senders_; }
    /// Returns what carries the requests out: io_uring or epoll.
    [[nodiscard]] inline Backend backend() const noexcept { return driver_.backend(); }
    /// Says in a sentence or two each what is done without on this machine and what follows from
    /// it, for the log: io_uring refused, a feature missing, or a clock that is not the machine's.
    /// Reads files of /proc for the reason of a refusal.
    [[nodiscard]] std::vector<std::string> shortcomings() const;
    [[nodiscard]] inline const LoopStatistics& statistics() const noexcept { return statistics_; }

    /// Accepts one connection: an Fd, closed on exec. The listener must be in blocking mode.
    [[nodiscard]] FdOperation accept(RawFd listener,
                                     std::optional<Milliseconds> limit = {}) noexcept;
    /// Accepts a connection that has arrived already; only with `Features::instant_accepts`.
    /// Errors: EAGAIN when there is none; EINVAL from a kernel without it.
    [[nodiscard]] FdOperation accept_waiting(RawFd listener) noexcept;
    /// Connects `socket`, in blocking mode. `address` must live until completion.
    [[nodiscard]] VoidOperation connect(RawFd socket, const Address& address,
                                        std::optional<Milliseconds> limit = {}) noexcept;
    /// Sends all of `bytes`, which must live until completion. Never raises SIGPIPE.
    [[nodiscard]] SendOperation send_all(RawFd socket, std::span<const std::byte> bytes,
                                         std::optional<Milliseconds> limit = {}) noexcept;
    /// Sends all bytes of all `pieces`, in their order; both the pieces and the list of them must
    /// live until completion. Never raises SIGPIPE.
    [[nodiscard]] GatheredSend send_all(RawFd socket, Pieces pieces,
                                        std::optional<Milliseconds> limit = {}) noexcept {
        return {*this, socket, pieces, limit};
    }
    /// Sends what the socket takes of `bytes`, at least one byte; yields how many. A send that was
    /// cancelled has sent nothing.
    [[nodiscard]] NumberOperation send(RawFd socket, std::span<const std::byte> bytes) noexcept;
    /// Waits until one of the poll(2) `events` holds; yields those that do.
    [[nodiscard]] NumberOperation poll(RawFd fd, std::uint32_t events,
                                       std::optional<Milliseconds> limit = {}) noexcept;
    /// Reads at most `bytes.size()` bytes at the file's position, for pipes, signalfds and the
    /// like.
    [[nodiscard]] NumberOperation read(RawFd fd, std::span<std::byte> bytes,
                                       std::optional<Milliseconds> limit = {}) noexcept;
    /// Awaits a moment; see coro::sleep_for.
    [[nodiscard]] inline coro::Sleep sleep(Milliseconds duration) noexcept {
        return coro::sleep_for(duration);
    }

    /// Closes `fd` at the end of the turn, in one system call with all else; at once when the loop
    /// does not run.
    void close(Fd fd) noexcept;

private:
    friend class Answers;
    friend class BufferPool;
    friend class MessageStream;
    friend class Multishot;
    friend class Operation;
    friend class Receiver;
    friend class Sender;
    friend class Senders;
    struct CancelTimer : coro::Timer {
        explicit CancelTimer(Loop& owner) noexcept;
        Loop& loop;
    };
    inline explicit Loop(std::uint32_t direct_sockets) noexcept
        : crowd_{direct_sockets}, cancel_timer_{*this} {}

    void turn();
    std::uint32_t reap() noexcept;
    [[nodiscard]] bool submit(QuickSend& send, Driver::Answered answered) noexcept;
    void adopt(Sender& sender) noexcept;
    void settle(Sender& sender) noexcept;
    void answer(Operation& operation, int result, std::uint32_t flags) noexcept;
    void answer(QuickSend& send, int result, std::uint32_t flags) noexcept;
    void submit(Operation& operation) noexcept;
    void cancel(Operation& operation) noexcept;
    void cancel_failed() noexcept;
    void cancel_again() noexcept;
    void buffer_available(BufferPool& pool) noexcept;
    void submit(Multishot& request) noexcept;
    void cancel(Multishot& request) noexcept;
    template <class T>
    void answer(T& request, int result, std::uint32_t flags) noexcept;
    void ended(Multishot& request) noexcept;
    void starved(Multishot& request, BufferPool& pool) noexcept;
    void watch(Receiver& receiver) noexcept;
    void receive_later(Receiver& receiver) noexcept;
    std::uint32_t receive_directly();
    template <class T>
    void retry(coro::List<T>& waiting) noexcept;
    [[nodiscard]] Result<BufferPool*> open_message_buffers();
    void retry_waiting() noexcept;
    void wait_for_buffers(Receiver& receiver) noexcept;
    void feed_starving() noexcept;
    [[nodiscard]] Wait wait() const noexcept;
    void run_until_empty(const coro::Scope& scope);
    void let_go() noexcept;

    Driver driver_;
    coro::Scheduler scheduler_;
    BufferPool buffers_;
    BufferPool message_buffers_;  ///< opened when the first message is received
    BufferPool::Options message_buffer_options_{};
    Receiver::Pieces pieces_;
    Senders senders_{*this, scheduler_};
    coro::List<Operation> operations_without_room_;
    coro::List<Multishot> multishots_without_room_;
    coro::List<Multishot> starving_;             ///< receivers that found no buffer in this turn
    coro::List<Multishot> to_be_fed_;            ///< those of the turns before, in their order
    Ration ration_;                              ///< of those, for a turn
    Batching batching_;                          ///< of what a turn waits for
    Crowd crowd_;                                ///< of receivers of large pieces
    coro::List<Multishot> to_receive_;           ///< receivers, directly, for tasks that wait
    coro::List<Operation> stopping_operations_;  ///< the kernel was asked to cancel them
    coro::List<Multishot> stopping_multishots_;
    std::vector<Fd> closing_;      ///< found the submission queue full
    std::uint64_t in_flight_ = 0;  ///< operations
    std::uint64_t receiving_ = 0;  ///< multishots that the kernel knows of
    std::uint64_t abandoned_ = 0;  ///< of those, what nobody owns any more
    bool running_ = false;
    CancelTimer cancel_timer_;
    Hangups hangups_{scheduler_};
    LoopStatistics statistics_;
};

/// See the declaration.
template <class T>
T Loop::run(coro::Task<T> task) {
    coro::Scope scope{coro::Context{.scheduler = &scheduler_}};
    if constexpr (std::is_void_v<T>) {
        scope.spawn(std::move(task));
        run_until_empty(scope);
    } else {
        std::optional<T> value;
        auto keep = [](coro::Task<T> inner, std::optional<T>& out) -> coro::Task<void> {
            out.emplace(co_await std::move(inner));
        };
        scope.spawn(keep(std::move(task), value));
        run_until_empty(scope);
        return *std::move(value);
    }
}

}  // namespace ringfort::uring
