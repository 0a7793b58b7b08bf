module;
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {
namespace {
constexpr std::size_t fan_out = 4;
}

void Timer::disarm() noexcept {
    if (queue_ != nullptr) queue_->remove(*this);
}

TimerQueue::~TimerQueue() {
    ensure(heap_.empty(), "a timer queue was destroyed with timers armed");
}

void TimerQueue::arm(Timer& timer, Instant due) {
    timer.disarm();
    heap_.push_back(&timer);
    timer.queue_ = this;
    timer.due_ = due;
    sift_up(timer, heap_.size() - 1);
}

std::size_t TimerQueue::fire(Instant instant) noexcept {
    std::size_t fired = 0;
    while (!heap_.empty() && heap_.front()->due_ <= instant) {
        Timer& timer = *heap_.front();
        remove(timer);
        timer.action_(timer);
        ++fired;
    }
    return fired;
}

std::optional<Instant> TimerQueue::next() const noexcept {
    if (heap_.empty()) return std::nullopt;
    return heap_.front()->due_;
}

void TimerQueue::remove(Timer& timer) noexcept {
    const std::size_t position = timer.position_;
    timer.queue_ = nullptr;
    Timer& last = *heap_.back();
    heap_.pop_back();
    if (&last == &timer) return;
    sift_up(last, position);
    sift_down(last, last.position_);
}

void TimerQueue::place(Timer& timer, std::size_t position) noexcept {
    heap_[position] = &timer;
    timer.position_ = position;
}

void TimerQueue::sift_up(Timer& timer, std::size_t position) noexcept {
    while (position > 0) {
        const std::size_t parent = (position - 1) / fan_out;
        if (heap_[parent]->due_ <= timer.due_) break;
        place(*heap_[parent], position);
        position = parent;
    }
    place(timer, position);
}

void TimerQueue::sift_down(Timer& timer, std::size_t position) noexcept {
    for (;;) {
        const std::size_t first = position * fan_out + 1;
        if (first >= heap_.size()) break;
        const auto end =
            heap_.begin() + static_cast<std::ptrdiff_t>(std::min(first + fan_out, heap_.size()));
        const auto least =
            std::min_element(heap_.begin() + static_cast<std::ptrdiff_t>(first), end,
                             [](const Timer* a, const Timer* b) { return a->due_ < b->due_; });
        if (timer.due_ <= (*least)->due_) break;
        const auto child = static_cast<std::size_t>(least - heap_.begin());
        place(**least, position);
        position = child;
    }
    place(timer, position);
}

}  // namespace ringfort::coro
