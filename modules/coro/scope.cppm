module;
#include <coroutine>
#include <cstddef>
export module ringfort.coro:scope;

import :cancel;
import :context;
import :ready;
import :scheduler;
import :task;

export namespace ringfort::coro {

/// Starts tasks that run side by side, and does not end before they have: `co_await join()` before
/// it is destroyed (destroying it with children running aborts). Cancelling reaches every child,
/// those spawned later included; whoever cancels the scope's parent cancels the scope.
class Scope {
public:
    /// Makes a scope below the running task: `Scope scope{co_await coro::current_context()};`
    /// Its tasks inherit the label, or carry `label`.
    explicit Scope(const Context& parent) noexcept;
    Scope(const Context& parent, const Label* label) noexcept;
    Scope(Scope&&) = delete;
    ~Scope();

    /// Starts `task` at the next turn of the ready queue. Allocates its frame. An exception that
    /// leaves the task aborts the process: nobody awaits it.
    void spawn(Task<void> task);
    void cancel() noexcept { cancel_.request(); }
    [[nodiscard]] CancelSource& cancel_source() noexcept { return cancel_; }
    /// Counts the children that have not ended.
    [[nodiscard]] std::size_t size() const noexcept { return running_; }

    /// Awaits the end of all children. Suspends; not cancellable by itself: cancel the scope. One
    /// task at a time may join.
    class Join {
    public:
        explicit Join(Scope& scope) noexcept : scope_{scope} {}
        [[nodiscard]] bool await_ready() const noexcept { return scope_.running_ == 0; }
        template <TaskPromise P>
        void await_suspend(std::coroutine_handle<P> joining) noexcept {
            scope_.wait(joining, joining.promise().context());
        }
        void await_resume() const noexcept {}

    private:
        Scope& scope_;
    };
    /// Returns the awaitable of the end of all children; see Join.
    [[nodiscard]] Join join() noexcept { return Join{*this}; }

private:
    struct Child;
    Child drive(Task<void> task);
    void finished() noexcept;
    void wait(std::coroutine_handle<> joining, const Context& context) noexcept;

    CancelSource cancel_;
    Context context_;
    std::size_t running_ = 0;
    bool joining_ = false;
    Resumption joiner_;
};

}  // namespace ringfort::coro
