export module ringfort.coro:timer;

import ringfort.base;
import ringfort.std;

namespace ringfort::coro {

/// A link of a circular list; a list's own link stands for both ends.
struct TimerLink {
    TimerLink* previous = this;
    TimerLink* next = this;
};

}  // namespace ringfort::coro

export namespace ringfort::coro {

class TimerQueue;

/// Something due at an instant: the base of what a TimerQueue fires. Disarms itself when destroyed.
class Timer : private TimerLink {
public:
    using Action = void (*)(Timer&) noexcept;
    inline explicit Timer(Action action) noexcept : action_{action} {}
    Timer(Timer&&) = delete;
    inline ~Timer() { disarm(); }

    /// Tells whether it is in a queue, waiting to fire.
    [[nodiscard]] inline bool armed() const noexcept { return queue_ != nullptr; }
    /// Takes the timer out of its queue; does nothing when it is not armed.
    void disarm() noexcept;

private:
    friend class TimerQueue;
    Action action_;
    TimerQueue* queue_ = nullptr;
    std::uint64_t tick_ = 0;
};

static_assert(sizeof(Timer) <= 40);

/// The timers of one loop, which live elsewhere: a hierarchical timing wheel of ticks of one
/// millisecond. No timer fires early; with `fire` called in time none fires later than a tick after
/// it was due, however far ahead that is. Arming and disarming take the same few instructions
/// however many timers there are, and nothing ever allocates.
///
/// Level n has 64 slots of 64^n ticks each, and holds the timers whose tick differs from the
/// current one in its nth group of six bits, and in none above. So the earliest timer is in the
/// first occupied slot of the lowest occupied level, and when the current tick enters a slot, what
/// is in it moves to lower levels: at most once a level in a timer's life. Source: G. Varghese and
/// A. Lauck, "Hashed and hierarchical timing wheels".
class TimerQueue {
public:
    /// Makes an empty queue whose time begins at `start`.
    inline explicit TimerQueue(Instant start = {}) noexcept : current_{tick_before(start)} {}
    TimerQueue(TimerQueue&&) = delete;
    ~TimerQueue();

    /// Arms `timer`, or moves it when it is armed already. What is due already fires a tick after
    /// the last call of `fire`.
    [[clang::preserve_most]] void arm(Timer& timer, Instant due) noexcept;
    /// Arms `timer` unless it fires by then anyway: for a limit that moves on with every wait, and
    /// whose timer looks, when it fires, whether the limit has come. Costs a comparison.
    inline void arm_by(Timer& timer, Instant due) noexcept {
        if (timer.queue_ != this || timer.tick_ * ns_per_tick >= count_ns(due) + ns_per_tick)
            arm(timer, due);
    }
    /// Fires what is due at `instant`, earliest first, and in the order of arming what is due in
    /// the same tick; returns how many. An action may arm and disarm, also its own timer.
    std::size_t fire(Instant instant) noexcept;
    /// Returns when `fire` is to be called at the latest: when the next timer is due, to the tick,
    /// or before that, when timers far ahead are to be sorted anew.
    [[nodiscard]] std::optional<Instant> next() const noexcept;
    [[nodiscard]] inline std::size_t size() const noexcept { return size_; }

private:
    friend class Timer;
    static constexpr unsigned bits = 6;
    static constexpr std::uint64_t slots = 1U << bits;
    static constexpr unsigned levels = 8;  ///< more ticks than an Instant can count
    static constexpr std::uint64_t ns_per_tick = 1'000'000;

    struct Position {
        unsigned level;
        std::uint64_t slot;
        std::uint64_t tick;  ///< at which the slot begins
    };

    inline static std::uint64_t count_ns(Instant instant) noexcept {
        const auto ns = std::chrono::nanoseconds{instant.time_since_epoch()}.count();
        return ns > 0 ? static_cast<std::uint64_t>(ns) : 0;
    }
    inline static std::uint64_t tick_before(Instant instant) noexcept {
        return count_ns(instant) / ns_per_tick;
    }
    void place(Timer& timer) noexcept;
    inline void remove(Timer& timer) noexcept {
        TimerLink* const other = timer.next;
        timer.previous->next = other;
        other->previous = timer.previous;
        timer.queue_ = nullptr;
        --size_;
        if (other->next == other) vacate(*other);
    }
    /// Notes that the list that ends in `end` is empty.
    inline void vacate(const TimerLink& end) noexcept {
        const auto slot = static_cast<std::size_t>(&end - slots_.data());
        occupied_[slot / slots] &= ~(std::uint64_t{1} << (slot % slots));
    }
    [[nodiscard]] std::optional<Position> earliest() const noexcept;
    std::size_t fire_slot(TimerLink& end) noexcept;
    void sort_anew(TimerLink& end) noexcept;

    std::uint64_t current_;             ///< the tick whose timers fire, or fired last
    std::uint64_t reached_ = current_;  ///< the tick of the last call of `fire`
    std::size_t size_ = 0;
    std::array<std::uint64_t, levels> occupied_{};  ///< a bit a slot
    std::array<TimerLink, levels * slots> slots_;
};

/// See the declaration.
inline void Timer::disarm() noexcept {
    if (queue_ != nullptr) queue_->remove(*this);
}

}  // namespace ringfort::coro
