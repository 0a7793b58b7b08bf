module;
#include <coroutine>
export module ringfort.coro:event;

import ringfort.base;
import :cancel;
import :context;
import :list;
import :ready;
import :scheduler;

export namespace ringfort::coro {

/// A flag that tasks wait for. Stays set until `reset`.
class Event {
public:
    class Wait;

    /// Tells whether the flag is set.
    [[nodiscard]] bool is_set() const noexcept { return set_; }
    /// Sets the flag and queues every waiting task.
    void set() noexcept;
    void reset() noexcept { set_ = false; }
    /// Awaits the flag. Suspends unless it is set; cancellable: ECANCELED.
    [[nodiscard]] Wait wait() noexcept;

private:
    struct Waiting : ListNode<Waiting> {};

    bool set_ = false;
    List<Waiting> waiting_;
};

/// The awaitable of `Event::wait`; lives in the waiting frame.
class Event::Wait : private Event::Waiting, private CancelHook {
public:
    explicit Wait(Event& event) noexcept;
    [[nodiscard]] bool await_ready() const noexcept { return event_.set_; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] Result<void> await_resume() const noexcept;

private:
    friend class Event;
    bool begin(std::coroutine_handle<> task, const Context& context) noexcept;
    void end() noexcept;

    Event& event_;
    Scheduler* scheduler_ = nullptr;
    bool cancelled_ = false;
    Resumption resumption_;
};

/// See the declaration.
inline Event::Wait Event::wait() noexcept {
    return Wait{*this};
}

}  // namespace ringfort::coro
