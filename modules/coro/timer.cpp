module;
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

TimerQueue::~TimerQueue() {
    ensure(size_ == 0, "a timer queue was destroyed with timers armed");
}

void TimerQueue::place(Timer& timer) noexcept {
    const auto differing = static_cast<unsigned>(std::bit_width(timer.tick_ ^ current_));
    const unsigned level = differing == 0 ? 0 : (differing - 1) / bits;
    const std::uint64_t slot = (timer.tick_ >> (level * bits)) % slots;
    occupied_[level] |= std::uint64_t{1} << slot;
    TimerLink& end = slots_[level * slots + slot];
    timer.previous = end.previous;
    timer.next = &end;
    end.previous->next = &timer;
    end.previous = &timer;
}

[[clang::preserve_most]] void TimerQueue::arm(Timer& timer, Instant due) noexcept {
    timer.disarm();
    const std::uint64_t tick = (count_ns(due) + ns_per_tick - 1) / ns_per_tick;
    timer.tick_ = tick > reached_ ? tick : reached_ + 1;
    timer.queue_ = this;
    ++size_;
    place(timer);
}

std::optional<TimerQueue::Position> TimerQueue::earliest() const noexcept {
    for (unsigned level = 0; level < levels; ++level) {
        if (occupied_[level] == 0) continue;
        const auto slot = static_cast<std::uint64_t>(std::countr_zero(occupied_[level]));
        const unsigned shift = level * bits;
        const std::uint64_t above = current_ >> (shift + bits) << (shift + bits);
        return Position{level, slot, above | slot << shift};
    }
    return std::nullopt;
}

std::size_t TimerQueue::fire(Instant instant) noexcept {
    const std::uint64_t target = tick_before(instant);
    if (target <= reached_) return 0;
    reached_ = target;
    std::size_t fired = 0;
    for (auto first = earliest(); first && first->tick <= target; first = earliest()) {
        current_ = first->tick;
        TimerLink& end = slots_[first->level * slots + first->slot];
        if (first->level == 0)
            fired += fire_slot(end);
        else
            sort_anew(end);
    }
    // No occupied slot begins in between, so all are where they belong for this tick too.
    current_ = target;
    return fired;
}

std::size_t TimerQueue::fire_slot(TimerLink& end) noexcept {
    std::size_t fired = 0;
    while (end.next != &end) {
        auto& timer = static_cast<Timer&>(*end.next);
        remove(timer);
        ++fired;
        timer.action_(timer);  // which may destroy it
    }
    return fired;
}

void TimerQueue::sort_anew(TimerLink& end) noexcept {
    while (end.next != &end) {
        auto& timer = static_cast<Timer&>(*end.next);
        end.next = timer.next;
        end.next->previous = &end;
        place(timer);
    }
    vacate(end);
}

std::optional<Instant> TimerQueue::next() const noexcept {
    const auto first = earliest();
    if (!first) return std::nullopt;
    const std::chrono::nanoseconds due{static_cast<std::int64_t>(first->tick * ns_per_tick)};
    return Instant{due};
}

}  // namespace ringfort::coro
