export module ringfort.coro:sleep;

import ringfort.base;
import ringfort.std;
import :cancel;
import :context;
import :ready;
import :scheduler;
import :timer;

export namespace ringfort::coro {

/// Awaits an instant. Suspends, even when it has passed already: then for a tick. Wakes no earlier
/// and, in a thread that is not busy, at most two milliseconds later. Cancellable: ECANCELED.
class [[nodiscard]] Sleep : private CancelHook, private Timer {
public:
    /// Sleeps until `due`, or for a time that begins when it is awaited.
    explicit Sleep(Instant due) noexcept;
    explicit Sleep(Milliseconds duration) noexcept;
    Sleep(Sleep&&) = delete;
    ~Sleep();

    [[nodiscard]] inline bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] Result<void> await_resume() noexcept;

private:
    bool begin(std::coroutine_handle<> task, const Context& context) noexcept;
    void end() noexcept;

    Instant due_{};
    Milliseconds duration_{-1};  ///< negative: `due_` counts
    Scheduler* scheduler_ = nullptr;
    bool cancelled_ = false;
    Resumption resumption_;
};

/// Return the awaitable of a moment; see Sleep. A duration begins with the turn in which it is
/// awaited.
[[nodiscard]] inline Sleep sleep_until(Instant due) noexcept {
    return Sleep{due};
}
[[nodiscard]] inline Sleep sleep_for(Milliseconds duration) noexcept {
    return Sleep{duration};
}

}  // namespace ringfort::coro
