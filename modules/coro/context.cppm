export module ringfort.coro:context;

import ringfort.std;
import :cancel;
import :frames;

export namespace ringfort::coro {

class Scheduler;

/// Names whose task something is, for the stall detector. Outlives the tasks that carry it.
struct Label {
    std::string_view name;
};

/// What a task inherits from the one that awaits it: what runs it, who may cancel it, whose it is.
struct Context {
    Scheduler* scheduler = nullptr;
    CancelSource* cancel = nullptr;
    const Label* label = nullptr;

    /// Tells whether the task was asked to stop.
    [[nodiscard]] inline bool cancelled() const noexcept {
        return cancel != nullptr && cancel->requested();
    }
};

/// The base of every promise of this module: an awaitable finds its task's Context through it, and
/// its frame comes from `allocate_frame`.
class Promise {
public:
    inline static void* operator new(std::size_t size) noexcept { return allocate_frame(size); }
    inline static void operator delete(void* frame, std::size_t size) noexcept {
        release_frame(frame, size);
    }

    /// Returns the context; its task's awaiter fills it in before the task starts.
    [[nodiscard]] inline Context& context() noexcept { return context_; }

private:
    Context context_;
};

/// A promise of a coroutine that carries a Context.
template <class P>
concept TaskPromise = std::derived_from<P, Promise>;

/// Awaited in a task, yields the task's Context without suspending it.
class CurrentContext {
public:
    [[nodiscard]] inline bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        context_ = task.promise().context();
        return false;
    }
    [[nodiscard]] inline Context await_resume() const noexcept { return context_; }

private:
    Context context_;
};

/// Returns the awaitable of the running task's Context: `co_await coro::current_context()`.
[[nodiscard]] inline CurrentContext current_context() noexcept {
    return {};
}

}  // namespace ringfort::coro
