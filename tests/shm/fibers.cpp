#include "fibers.hpp"

#include <algorithm>
#include <chrono>
#include <compare>
#include <utility>

namespace fibers {
namespace {

using namespace ringfort;
using namespace ringfort::shm;

constexpr std::size_t stack_bytes = 128 * 1'024;

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RF_ABANDONED_STACKS 1  // the sanitizer remembers their frames
#endif
#endif

Fibers* running = nullptr;

}  // namespace

Fibers::Fibers(std::uint32_t count, std::uint64_t seed, Odds odds,
               std::function<void(std::uint32_t)> work, std::function<void(std::uint32_t)> killed)
    : work_{std::move(work)},
      killed_{std::move(killed)},
      odds_{odds},
      random_{seed},
      fibers_(count) {
    running = this;
    static constexpr Scheduler scheduler{
        .wait = [](std::uint32_t* word,
                   std::uint32_t expected) { return running->wait(word, expected); },
        .wake = [](std::uint32_t* word, int n) { return running->wake(word, n); },
        .now = [] { return Instant{std::chrono::nanoseconds{running->time_ns_}}; }};
    set_scheduler(&scheduler);
    set_step_hook([] { running->step(); });
}

Fibers::~Fibers() {
    set_step_hook(nullptr);
    set_scheduler(nullptr);
    running = nullptr;
}

void Fibers::enter() {
    const std::uint32_t own = running->current_;
    for (;;) running->work_(own);
}

// What was on the stack of one that is killed is not destroyed: a killed process destroys nothing.
void Fibers::start(Fiber& fiber) {
#ifdef RF_ABANDONED_STACKS
    static std::vector<std::unique_ptr<std::byte[]>> abandoned;
    abandoned.push_back(std::move(fiber.stack));
#endif
    if (!fiber.stack) fiber.stack = std::make_unique<std::byte[]>(stack_bytes);
    ::getcontext(&fiber.context);
    fiber.context.uc_stack = {fiber.stack.get(), 0, stack_bytes};
    fiber.context.uc_link = nullptr;
    ::makecontext(&fiber.context, &Fibers::enter, 0);
    fiber.started = true;
    fiber.sleeps_on = nullptr;
}

void Fibers::run(std::uint64_t steps) {
    const std::uint64_t last = steps_ + steps;
    while (steps_ < last && failure_.empty()) {
        if (besides_) besides_();
        if (!failure_.empty()) break;
        const std::uint32_t next = choose();
        if (next == nobody) break;
        Fiber& fiber = fibers_[next];
        if (!fiber.started) start(fiber);
        end_ = End::turn;
        current_ = next;
        ::swapcontext(&scheduler_, &fiber.context);
        current_ = nobody;
        if (end_ != End::killed) continue;
        ++kills_;
        fiber.started = false;
        fiber.sleeps_on = nullptr;
        killed_(next);
    }
    for (std::uint32_t n = 0; n < fibers_.size(); ++n) {
        fibers_[n].started = false;
        killed_(n);
    }
}

// Mostly one that can go on; now and then one whose sleep has lasted for as long as it may.
std::uint32_t Fibers::choose() {
    const auto count = static_cast<std::uint32_t>(fibers_.size());
    if (std::ranges::all_of(fibers_, [&](const Fiber& one) { return sleeps_for_good(one); })) {
        failure_ = "everybody sleeps, and nobody is to wake them";
        return nobody;
    }
    for (int attempt = 0;; ++attempt) {
        const auto n = static_cast<std::uint32_t>(random_() % count);
        if (fibers_[n].sleeps_on == nullptr) return n;
        if (sleeps_for_good(fibers_[n])) continue;
        if (attempt < 64 && random_() % 64 != 0) continue;
        time_ns_ += 20'000;
        fibers_[n].sleeps_on = nullptr;
        return n;
    }
}

bool Fibers::sleeps_for_good(const Fiber& fiber) const {
    return endless_ && fiber.sleeps_on != nullptr && endless_(fiber.sleeps_on);
}

void Fibers::leave(End end) {
    end_ = end;
    ::swapcontext(&fibers_[current_].context, &scheduler_);
}

void Fibers::step() {
    if (current_ == nobody) return;  // the test itself looks at something
    ++steps_;
    time_ns_ += 50;
    const std::uint64_t chance = random_();
    if (chance % odds_.kill == 0) return leave(End::killed);
    if ((chance >> 32) % odds_.turn == 0) leave(End::turn);
}

bool Fibers::wait(std::uint32_t* word, std::uint32_t expected) {
    if (*word != expected) return false;
    if (current_ == nobody) {  // the test itself: everybody else is dead
        time_ns_ += 20'000'000;
        return true;
    }
    ++sleeps_;
    fibers_[current_].sleeps_on = word;
    fibers_[current_].asleep_since = steps_;
    leave(End::turn);
    return true;
}

long Fibers::wake(const std::uint32_t* word, int count) {
    long woken = 0;
    for (; woken < count; ++woken) {
        Fiber* first = nullptr;
        for (Fiber& fiber : fibers_)
            if (fiber.sleeps_on == word &&
                (first == nullptr || fiber.asleep_since < first->asleep_since))
                first = &fiber;
        if (first == nullptr) break;
        first->sleeps_on = nullptr;
    }
    return woken;
}

void Fibers::require(bool right, const std::string& what) {
    if (right) return;
    failure_ = what;
    if (current_ != nobody) leave(End::failed);
}

}  // namespace fibers
