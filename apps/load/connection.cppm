/// One connection of a load, and what all of one run share. Inside the module only.
module load:connection;

import ringfort;
import ringfort.std;
import :options;
import :payload;
import :report;

namespace load {

/// What the connections of a run share with it.
struct Session {
    const Options& options;
    ringfort::uring::Loop& loop;
    Payload payload;
    ringfort::Instant rate_origin = {};  ///< when the first request of a fixed rate is due
    ringfort::Instant window_begin = ringfort::Instant::max();
    ringfort::Instant window_end = ringfort::Instant::max();
    bool starting = true;   ///< new requests are sent
    bool counting = false;  ///< inside the window
    std::uint32_t connecting = 0;
    std::uint32_t live = 0;      ///< neither failed nor finished, those still connecting included
    std::uint32_t unready = 0;   ///< have not connected yet; idle: are not answered yet
    std::uint64_t answered = 0;  ///< requests of the whole run
    Report report = {};
    ringfort::coro::Event changed = {};  ///< set when one of the counts reached what is waited for

    /// Notes that a request that began, or was due, at `begun` was answered at `now`.
    void count(ringfort::Instant begun, ringfort::Instant now) noexcept;
    /// Notes that a request that was due at `due` is without an answer at `now`, and stays so.
    void give_up(ringfort::Instant due, ringfort::Instant now) noexcept;
    [[nodiscard]] bool paced() const noexcept { return options.rate_per_s > 0; }
    /// Notes that a connection has become ready, or never will.
    void ready() noexcept;

private:
    void record(ringfort::Instant::duration duration) noexcept;
    [[nodiscard]] bool in_window(ringfort::Instant due) const noexcept {
        return due >= window_begin && due < window_end;
    }
};

/// One connection: two tasks, one that sends and one that receives and verifies, so that neither
/// waits for the other and a pipeline larger than the socket's buffers does not stand still. Where
/// little is in flight the receiving one sends as well.
class Connection {
public:
    Connection(Session& session, std::uint32_t id);
    Connection(Connection&&) = delete;

    /// Connects and sends and receives until the run stops, then ends in order. Never fails: what
    /// goes wrong is counted.
    ringfort::coro::Task<void> run();
    /// The same for Mode::churn: one connection after another.
    ringfort::coro::Task<void> churn();

    /// Makes one more request of a fixed rate due.
    void schedule();
    /// Lets the connection end when the last answer is in; `session.starting` is false by then.
    void stop();
    /// Gives up when what is being waited for is overdue.
    void look_for_timeout(ringfort::Instant now);
    /// Counts nothing from now on: the run was interrupted, and its task is about to be cancelled.
    void abandon() noexcept { failed_ = true; }
    /// Returns how many requests are due and not sent.
    [[nodiscard]] std::uint64_t behind() const noexcept {
        return scheduled_ > started_ ? scheduled_ - started_ : 0;
    }

    /// At a fixed rate: enters the requests that were due and are never sent into the latencies.
    void give_up_unsent(ringfort::Instant now);

private:
    static constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

    ringfort::coro::Task<void> write();
    ringfort::coro::Task<void> read();
    /// One connection of churn; false when it failed.
    ringfort::coro::Task<bool> visit(std::span<std::byte> scratch);
    ringfort::coro::Task<bool> exchange(ringfort::net::Stream& stream,
                                        std::span<std::byte> scratch);
    ringfort::coro::Task<ringfort::Result<ringfort::net::Stream>> connect();
    std::span<const std::byte> next_piece();
    bool verify(std::span<const std::byte> bytes);
    void complete_requests();
    void start_requests(ringfort::Instant now);
    void end_when_answered();
    void give_up_unanswered();
    void fail(std::uint64_t Failures::* counter);
    void fail(const ringfort::Error& error);
    void leave();
    [[nodiscard]] ringfort::Instant intended(std::uint64_t request) const;
    [[nodiscard]] std::uint64_t due_bytes() const;

    Session& session_;
    std::uint32_t id_;
    bool alone_;                       ///< read() sends as well, write() does not run
    std::uint64_t quota_ = unlimited;  ///< requests it may send at all
    std::uint64_t scheduled_ = 0;      ///< requests due at a fixed rate
    std::uint64_t started_ = 0;        ///< requests
    std::uint64_t answered_ = 0;       ///< requests
    std::uint64_t handed_ = 0;         ///< bytes of the stream, given to the socket or about to be
    std::uint64_t received_ = 0;       ///< bytes of the stream
    bool writing_ = false;             ///< bytes are on their way to the socket
    bool closing_ = false;             ///< our half is closed
    bool failed_ = false;
    ringfort::Instant since_{};             ///< what is being waited for began then
    std::vector<std::byte> scratch_;        ///< what is being sent
    std::vector<ringfort::Instant> begun_;  ///< of requests in flight, by number modulo depth
    ringfort::coro::Event more_;            ///< there is something to write
    std::optional<ringfort::net::Stream> stream_;
    std::optional<ringfort::coro::Scope> scope_;  ///< of its two tasks, while they run
};

}  // namespace load
