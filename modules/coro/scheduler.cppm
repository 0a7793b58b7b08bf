export module ringfort.coro:scheduler;

import ringfort.base;
import ringfort.std;
import :context;
import :ready;
import :stall;
import :timer;

export namespace ringfort::coro {

/// How much of a turn the tasks may have before the loop looks at the kernel again.
struct Budget {
    std::uint32_t resumptions = limits::resumptions_per_turn;
    Milliseconds time = limits::run_time_per_turn_ms;
};

/// What runs the tasks of one thread: the queue of those that may go on, and the timers. A loop
/// calls `begin_turn` when it has waited, then `run`.
class Scheduler {
public:
    Scheduler() noexcept = default;
    Scheduler(Scheduler&&) = delete;
    ~Scheduler();

    /// Queues what may go on; `item` must stay alive and be in no queue until it is resumed.
    inline void push(Resumption& item) noexcept { ready_.push(item); }
    /// Tells whether nothing may go on.
    [[nodiscard]] inline bool empty() const noexcept { return ready_.empty(); }
    /// Returns when this turn began.
    [[nodiscard]] inline Instant time() const noexcept { return time_; }
    /// Returns the clock as it was read last: no earlier than `time`, and after `run` when that
    /// ended. Saves a loop the reading of its own.
    [[nodiscard]] inline Instant clock() const noexcept { return clock_; }
    /// Returns the end of a time limit that begins with this turn; no limit is beyond a century.
    [[nodiscard]] inline Instant after(Milliseconds limit) const noexcept {
        constexpr Milliseconds longest = std::chrono::hours{24 * 365 * 100};
        return time_ + std::min(limit, longest);
    }
    /// Returns the timers, which `begin_turn` fires.
    [[nodiscard]] inline TimerQueue& timers() noexcept { return timers_; }
    [[nodiscard]] inline const TimerQueue& timers() const noexcept { return timers_; }

    /// Begins a turn at `instant` and fires the timers that are due.
    void begin_turn(Instant instant) noexcept;
    /// Resumes what may go on, oldest first, what is queued meanwhile included, until nothing is
    /// left or the budget is spent; returns how many. Reads the clock when the label changes and
    /// every few resumptions, for the budget and for the stall detector.
    std::size_t run(Budget budget = {});
    /// Goes on after `run` until nothing is left or the clock, as it was read last, has come to
    /// `end`. For many calls with work of the caller's for the same tasks between them: the clock
    /// is read when the label changes and every `per_reading` resumptions (at least 1, and the same
    /// for all the calls), and by `measure`, which follows the last.
    void run_on(Instant end, std::uint32_t per_reading);
    /// Reads the clock for what has been resumed since it was read last, if anything was.
    void measure() noexcept;
    /// Reads the clock, also if nothing was: after work of the caller's that is not the next
    /// task's.
    void read_clock() noexcept;

    /// Spends one of the units that a resumed task has. An awaitable that would complete without
    /// suspending calls it; false: the task has had its share, and the awaitable suspends it by
    /// pushing it, so that a task that loops over what is ready lets others run.
    [[nodiscard]] inline bool spend() noexcept {
        if (units_ == 0) return false;
        --units_;
        return true;
    }

private:
    std::uint32_t run_stretch(const Label* label, std::uint32_t most);

    ReadyQueue ready_;
    std::uint32_t units_ = limits::completions_per_resumption;
    bool turn_begun_ = false;
    Instant time_ = now();
    Instant clock_ = time_;
    TimerQueue timers_{time_};
    StallDetector stalls_;
    const Label* label_ = nullptr;  ///< of what `run_on` has resumed since `clock_`
    std::uint32_t unmeasured_ = 0;  ///< how many
};

}  // namespace ringfort::coro
