module;
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
export module ringfort.worker:context;

import ringfort.base;
import ringfort.coro;
import ringfort.shm;
import ringfort.uring;

export namespace ringfort::worker {

/// What every worker counts, in its row of the zone `counters_zone`.
enum class Counter : std::uint8_t {
    accepted,   ///< connections, since the zone was made
    active,     ///< connections open now; a gauge
    failed,     ///< connections that ended with an error
    pulse,      ///< when the worker last made progress, as `pulse_at`
    succeeded,  ///< the generation, once an orphan of it has learnt that another master serves
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
inline constexpr std::string_view counters_tag = "counters/3";

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

private:
    friend class Worker;
    uring::Loop& loop_;
    std::uint32_t slot_ = 0;
    std::uint32_t generation_ = 0;
    coro::Event draining_;
    std::map<std::string, shm::Zone, std::less<>> zones_;
};

}  // namespace ringfort::worker
