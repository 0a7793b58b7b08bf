/// Runs a task to its end on a bare Scheduler: the smallest loop there is.
#pragma once
#include <coroutine>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>

namespace testing {

struct Driver {
    struct promise_type : ringfort::coro::Promise {
        Driver get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { throw; }
    };
    std::coroutine_handle<promise_type> frame;
};

template <class T>
Driver drive(ringfort::coro::Task<T>& task) {
    co_await std::move(task);
}

/// A running task, driven by hand.
template <class T>
class Running {
public:
    Running(ringfort::coro::Scheduler& scheduler, ringfort::coro::Task<T> task,
            ringfort::coro::CancelSource* cancel = nullptr)
        : task_{std::move(task)}, driver_{drive(task_)} {
        driver_.frame.promise().context() = {.scheduler = &scheduler, .cancel = cancel};
        driver_.frame.resume();
    }
    Running(Running&&) = delete;
    ~Running() { driver_.frame.destroy(); }
    [[nodiscard]] bool done() const { return driver_.frame.done(); }

private:
    ringfort::coro::Task<T> task_;
    Driver driver_;
};

/// Stores a task's value.
template <class T>
ringfort::coro::Task<> keep(ringfort::coro::Task<T> task, std::optional<T>& out) {
    out.emplace(co_await std::move(task));
}

constexpr ringfort::coro::Budget plenty{.resumptions = 1'000'000,
                                        .time = ringfort::Milliseconds{600'000}};

/// Lets the time of a scheduler pass, a millisecond a turn, and runs what may go on.
inline void pass(ringfort::coro::Scheduler& scheduler, int ms) {
    for (int i = 0; i < ms; ++i) {
        scheduler.begin_turn(scheduler.time() + ringfort::Milliseconds{1});
        scheduler.run(plenty);
    }
}

/// Runs a task to its end, time passing as fast as it can; returns its value.
template <class T>
T run(ringfort::coro::Scheduler& scheduler, ringfort::coro::Task<T> task) {
    std::optional<T> out;
    Running running{scheduler, keep(std::move(task), out)};
    for (int turn = 0; !running.done() && turn < 1'000'000; ++turn) pass(scheduler, 1);
    return *std::move(out);
}

}  // namespace testing
