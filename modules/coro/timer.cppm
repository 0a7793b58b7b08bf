module;
#include <cstddef>
#include <optional>
#include <vector>
export module ringfort.coro:timer;

import ringfort.base;

export namespace ringfort::coro {

class TimerQueue;

/// Something due at an instant: the base of what a TimerQueue fires. Disarms itself when destroyed.
class Timer {
public:
    using Action = void (*)(Timer&) noexcept;
    explicit Timer(Action action) noexcept : action_{action} {}
    Timer(Timer&&) = delete;
    ~Timer() { disarm(); }

    /// Tells whether it is in a queue, waiting to fire.
    [[nodiscard]] bool armed() const noexcept { return queue_ != nullptr; }
    /// Takes the timer out of its queue; does nothing when it is not armed.
    void disarm() noexcept;

private:
    friend class TimerQueue;
    Action action_;
    TimerQueue* queue_ = nullptr;
    std::size_t position_ = 0;
    Instant due_{};
};

/// The timers of one loop: a four-ary heap of timers that live elsewhere. Arming and disarming cost
/// O(log n) and no system call; memory is allocated only when the heap grows.
class TimerQueue {
public:
    TimerQueue() = default;
    TimerQueue(TimerQueue&&) = delete;
    ~TimerQueue();

    /// Arms `timer`, or moves it when it is armed already.
    void arm(Timer& timer, Instant due);
    /// Fires what is due at `instant`, earliest first; returns how many. An action may arm and
    /// disarm.
    std::size_t fire(Instant instant) noexcept;
    /// Returns when the next timer is due.
    [[nodiscard]] std::optional<Instant> next() const noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }

private:
    friend class Timer;
    void remove(Timer& timer) noexcept;
    void place(Timer& timer, std::size_t position) noexcept;
    void sift_up(Timer& timer, std::size_t position) noexcept;
    void sift_down(Timer& timer, std::size_t position) noexcept;

    std::vector<Timer*> heap_;
};

}  // namespace ringfort::coro
