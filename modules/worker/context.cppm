export module ringfort.worker:context;

import ringfort.base;
import ringfort.coro;
import ringfort.shm;
import ringfort.std;
import ringfort.uring;
import :peers;

export namespace ringfort::worker {

/// What every worker counts, in its row of the zone `counters_zone`.
enum class Counter : std::uint8_t {
    accepted,   ///< connections, since the zone was made
    active,     ///< connections open now; a gauge
    failed,     ///< connections, and tasks of datagrams, that ended with an error
    pulse,      ///< when the worker last made progress, as `pulse_at`
    succeeded,  ///< the generation, once an orphan of it has learnt that another master serves
    datagrams,  ///< received and given to a service, since the zone was made
    count
};
/// The workers' counters, one row a living worker.
using Counters = shm::CountersOf<Counter>;

/// Write and read a moment as Counter::pulse has it: nanoseconds of the monotonic clock, which all
/// processes of a machine share.
[[nodiscard]] inline std::uint64_t pulse_at(Instant moment) noexcept {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds{moment.time_since_epoch()}.count());
}
[[nodiscard]] inline Instant moment_of(std::uint64_t pulse) noexcept {
    return Instant{std::chrono::nanoseconds{static_cast<std::int64_t>(pulse)}};
}

/// The zone of the workers' counters, made by every cycle.
inline constexpr std::string_view counters_zone = "ringfort.workers";
inline constexpr std::string_view counters_tag = "counters/4";

/// What a service sees of the worker it runs in. Outlives every task of the service.
class Context {
public:
    explicit Context(uring::Loop& loop) noexcept : loop_{loop} {}
    Context(Context&&) = delete;

    /// Return the loop that the worker runs, and which worker it is.
    [[nodiscard]] uring::Loop& loop() noexcept { return loop_; }
    [[nodiscard]] std::uint32_t slot() const noexcept { return slot_; }
    [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }

    /// Is set when the worker has begun to drain: a service with idle connections closes them.
    [[nodiscard]] coro::Event& draining() noexcept { return draining_; }

    /// Finds a zone of the configuration, or one that a service has asked for, as this worker's
    /// own: what it holds in there is given back when it ends, however it does. From the service's
    /// `start` on. Errors: ENOENT for none of that name; EBADMSG for one whose content is
    /// corrupted, until a reload makes it anew.
    [[nodiscard]] Result<shm::Pool> pool(std::string_view name) const;
    /// Begins a transaction on one of this worker's pools, as `shm::Pool::begin`, but lets the
    /// worker's other tasks run while it waits. Its holder does not suspend before its end: others
    /// wait for that, and this worker's own tasks are refused (EDEADLK) meanwhile. Suspends;
    /// cancellable. `pool` outlives it.
    [[nodiscard]] coro::Task<Result<shm::Transaction>> begin(
        const shm::Pool& pool, Milliseconds wait = limits::lock_wait_ms);
    /// Take the message at the front of a queue in one of this worker's pools, or put one at its
    /// end, as `shm::Queue`, but wait for one, or for room, for up to `wait` if it says so, while
    /// the worker's other tasks run. Whoever is cancelled, or told of an error, has taken or put
    /// nothing. Suspend; cancellable. Errors: those of `shm::Queue` but ENOBUFS; ETIMEDOUT;
    /// ECANCELED. `queue` and `message` outlive the task.
    [[nodiscard]] coro::Task<Result<std::vector<std::byte>>> pop(
        const shm::Queue& queue, std::optional<Milliseconds> wait = {});
    [[nodiscard]] coro::Task<Result<void>> push(const shm::Queue& queue, shm::ByteView message,
                                                std::optional<Milliseconds> wait = {});

    /// Returns the workers of this generation that can be told something, in the order of their
    /// slots; this one is not among them.
    [[nodiscard]] std::vector<PeerId> peers() const;
    /// Sends a message to another worker, whose service of that name hears it, after those sent
    /// before (`Service::on_message`). Never waits. Errors: ENOTCONN: that worker has gone;
    /// ENOBUFS: it is slow, and `limits::peer_queue_messages` wait for it already; EINVAL: no name,
    /// or too many bytes; EPIPE. After an error it is not sent, and its descriptor closed.
    [[nodiscard]] Result<void> send(PeerId to, PeerMessage message);
    /// Sends a copy to each of `peers`. Returns how many it was sent to: a slow one is left out.
    std::size_t broadcast(const PeerMessage& message);

private:
    friend class Worker;
    uring::Loop& loop_;
    Peers* peers_ = nullptr;
    std::uint32_t slot_ = 0;
    std::uint32_t generation_ = 0;
    coro::Event draining_;
    std::map<std::string, shm::Zone, std::less<>> zones_;
    std::map<std::string, Result<shm::Pool>, std::less<>> pools_;
};

/// Takes a lock as `shm::Lock::lock_for`, but lets other tasks of the loop run while it waits.
/// Suspends; cancellable: ECANCELED. `lock` outlives the task and the guard.
[[nodiscard]] coro::Task<Result<shm::Guard>> take(uring::Loop& loop, const shm::Lock& lock,
                                                  Milliseconds wait);

}  // namespace ringfort::worker
