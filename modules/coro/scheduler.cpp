module;
#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {
namespace {

/// Bounds a budget of time, so that it can be added to any instant.
constexpr Milliseconds longest_run = std::chrono::hours{1};

}  // namespace

Scheduler::~Scheduler() {
    ensure(ready_.empty(), "a scheduler was destroyed with tasks that may go on");
}

void Scheduler::begin_turn(Instant instant) noexcept {
    turn_begun_ = true;
    time_ = clock_ = instant;
    (void)timers_.fire(instant);
}

std::size_t Scheduler::run(Budget budget) {
    // The first stretch begins with the turn; without one, the clock has not been read lately.
    const bool first = std::exchange(turn_begun_, false);
    if (ready_.empty()) return 0;
    Instant begin = first ? time_ : now();
    const Instant end = begin + std::min(budget.time, longest_run);
    std::uint32_t left = budget.resumptions;
    while (left > 0 && !ready_.empty() && begin < end) {
        // Reading the clock costs as much as four to eight resumptions.
        const std::uint32_t most =
            stalls_.exact(begin) ? 1 : std::min(left, limits::resumptions_per_reading);
        const Label* label = ready_.front().label;
        const std::uint32_t count = run_stretch(label, most);
        clock_ = now();
        stalls_.measured(label, count, std::exchange(begin, clock_), clock_);
        left -= count;
    }
    return budget.resumptions - left;
}

void Scheduler::run_on(Instant end, std::uint32_t per_reading) {
    while (!ready_.empty() && clock_ < end) {
        const Label* label = ready_.front().label;
        if (unmeasured_ > 0 && label != label_) {
            measure();
            continue;  // which may have been the end
        }
        label_ = label;
        const std::uint32_t most = stalls_.exact(clock_) ? 1 : per_reading;
        unmeasured_ += run_stretch(label, most - unmeasured_);
        if (unmeasured_ == most) measure();
    }
}

void Scheduler::read_clock() noexcept {
    if (unmeasured_ > 0)
        measure();
    else
        clock_ = now();
}

void Scheduler::measure() noexcept {
    const std::uint32_t count = std::exchange(unmeasured_, 0);
    if (count == 0) return;
    const Instant begin = std::exchange(clock_, now());
    stalls_.measured(label_, count, begin, clock_);
}

/// Resumes at most so many tasks of one label; returns how many.
std::uint32_t Scheduler::run_stretch(const Label* label, std::uint32_t most) {
    std::uint32_t count = 0;
    do {
        units_ = limits::completions_per_resumption;
        ready_.resume_front();
    } while (++count < most && !ready_.empty() && ready_.front().label == label);
    return count;
}

}  // namespace ringfort::coro
