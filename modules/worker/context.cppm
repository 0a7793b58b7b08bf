module;
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
export module ringfort.worker:context;

import ringfort.base;
import ringfort.coro;
import ringfort.shm;
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

    /// Finds a zone of the configuration; nullptr when there is none of that name.
    [[nodiscard]] const shm::Zone* zone(std::string_view name) const noexcept {
        const auto found = zones_.find(name);
        return found == zones_.end() ? nullptr : &found->second;
    }

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
};

}  // namespace ringfort::worker
