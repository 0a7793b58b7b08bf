export module ringfort.coro:event;

import ringfort.base;
import ringfort.std;
import :context;
import :list;
import :waiter;

export namespace ringfort::coro {

/// A flag that tasks wait for. Stays set until `reset`. Destroying it while a task waits aborts.
class Event {
public:
    class Wait;

    Event() noexcept = default;
    Event(Event&&) = delete;
    inline ~Event() {
        ensure(waiting_.empty(), "an event was destroyed with a task waiting for it");
    }

    /// Tells whether the flag is set.
    [[nodiscard]] inline bool is_set() const noexcept { return set_; }
    /// Sets the flag and queues every waiting task.
    void set() noexcept;
    inline void reset() noexcept { set_ = false; }
    /// Awaits the flag. Suspends unless it is set; cancellable: ECANCELED.
    [[nodiscard]] Wait wait() noexcept;

private:
    bool set_ = false;
    List<Waiter> waiting_;
};

/// The awaitable of `Event::wait`; lives in the waiting frame.
class Event::Wait : private Waiter {
public:
    inline explicit Wait(Event& event) noexcept : event_{event} {}
    [[nodiscard]] inline bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] Result<void> await_resume() noexcept;

private:
    bool begin(std::coroutine_handle<> task, const Context& context) noexcept;

    Event& event_;
};

/// See the declaration.
inline Event::Wait Event::wait() noexcept {
    return Wait{*this};
}

}  // namespace ringfort::coro
