#pragma once
#include <algorithm>
#include <chrono>
#include <thread>

/// Deadlines for everything that could wait for ever.
namespace e2e {

using std::chrono::milliseconds;

#ifdef RINGFORT_E2E_SANITIZED
inline constexpr int slow_factor = 3;  ///< sanitizers make the same work this much slower
#else
inline constexpr int slow_factor = 1;
#endif

/// A moment after which waiting is a failure. Sanitizer builds get `slow_factor` times as long.
class Deadline {
public:
    [[nodiscard]] static Deadline after(milliseconds time) {
        return Deadline{std::chrono::steady_clock::now() + time * slow_factor};
    }
    /// For a look that does not wait.
    [[nodiscard]] static Deadline now() { return after(milliseconds{0}); }
    /// Returns what is left, in the form poll(2) takes; 0 when the moment has passed.
    [[nodiscard]] int remaining_ms() const {
        const auto left = std::chrono::ceil<milliseconds>(end_ - std::chrono::steady_clock::now());
        return static_cast<int>(std::max<milliseconds::rep>(left.count(), 0));
    }
    [[nodiscard]] bool expired() const { return std::chrono::steady_clock::now() >= end_; }

private:
    explicit Deadline(std::chrono::steady_clock::time_point end) : end_{end} {}
    std::chrono::steady_clock::time_point end_;
};

/// For what should happen at once.
[[nodiscard]] inline Deadline soon() {
    return Deadline::after(milliseconds{8'000});
}
/// For work that takes the machine a while.
[[nodiscard]] inline Deadline later() {
    return Deadline::after(milliseconds{40'000});
}

/// Waits until `holds` returns true; returns false when the deadline came first. Only for states
/// that nothing announces (the files of /proc): where an event exists, wait for the event.
template <class Predicate>
[[nodiscard]] bool eventually(Deadline deadline, Predicate holds) {
    while (!holds()) {
        if (deadline.expired()) return holds();
        std::this_thread::sleep_for(milliseconds{2});
    }
    return true;
}

/// Measures wall time, unscaled.
class Stopwatch {
public:
    [[nodiscard]] milliseconds elapsed() const {
        return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start_);
    }

private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace e2e
