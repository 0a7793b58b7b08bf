export module ringfort.coro:scope;

import ringfort.base;
import ringfort.std;
import :cancel;
import :context;
import :list;
import :outcome;
import :ready;
import :scheduler;
import :task;
import :waiter;

export namespace ringfort::coro {

/// How many tasks a scope holds, and whose they are.
struct ScopeOptions {
    std::size_t limit = std::numeric_limits<std::size_t>::max();
    const Label* label = nullptr;  ///< the parent's when null
};

/// Starts tasks that run side by side, and does not end before they have: `co_await join()` before
/// it is destroyed (destroying it with children running aborts). Cancelling reaches every child,
/// those spawned later included; whoever cancels the scope's parent cancels the scope.
class Scope : private Owner {
public:
    class Join;
    class Spawn;

    /// Makes a scope below the running task: `Scope scope{co_await coro::current_context()};`
    explicit Scope(const Context& parent, const ScopeOptions& options = {}) noexcept;
    inline Scope(const Context& parent, const Label* label) noexcept
        : Scope{parent, ScopeOptions{.label = label}} {}
    Scope(Scope&&) = delete;
    ~Scope();

    /// Starts `task` when those that may go on now have gone on, labelled from its first resumption
    /// on: as the scope when `label` is null. Throws std::bad_alloc when there was no memory for
    /// the task; aborts when the scope is full: a scope with a limit is asked by `try_spawn`. An
    /// exception that leaves the task aborts the process: nobody awaits it.
    inline void spawn(Task<void> task, const Label* label = nullptr) {
        ensure(running_ < limit_, "a task was spawned in a scope that is full");
        if (!task.made()) [[unlikely]]
            Task<void>::without_memory();
        start(task, label);
    }
    /// As `spawn`, or refuses: EAGAIN when the scope is full or somebody waits for room in it,
    /// ENOMEM when there was no memory for the task. A task that is refused is dropped.
    [[nodiscard]] Result<void> try_spawn(Task<void> task, const Label* label = nullptr) noexcept;
    /// Awaits that there is room, first come, first served, and starts the task. Suspends only
    /// while there is none. Cancellable: ECANCELED, and the task is dropped. Errors: ENOMEM.
    [[nodiscard]] Spawn spawn_when_room(Task<void> task, const Label* label = nullptr) noexcept;

    /// Asks every child to stop, and those spawned from now on. `cancel_source` is what does so.
    inline void cancel() noexcept { cancel_.request(); }
    [[nodiscard]] inline CancelSource& cancel_source() noexcept { return cancel_; }
    /// Counts the children that have not ended.
    [[nodiscard]] inline std::size_t size() const noexcept { return running_; }
    /// Returns how many children there may be at a time.
    [[nodiscard]] inline std::size_t limit() const noexcept { return limit_; }

    /// Awaits the end of all children. Suspends; not cancellable by itself: cancel the scope. One
    /// task at a time may join.
    [[nodiscard]] Join join() noexcept;

private:
    friend class Owner;
    /// Inline, as a spawn is to cost no more than a call and a resumption.
    inline void start(Task<void>& task, const Label* label) noexcept {
        ++running_;
        Context context = context_;
        if (label != nullptr) context.label = label;
        std::exchange(task.frame_, nullptr).promise().spawn(*this, context);
    }
    void end_waits() noexcept;
    void watch() noexcept;

    CancelSource cancel_;
    Context context_;
    std::size_t limit_;
    List<Waiter> room_;  ///< those who wait for room
    bool joining_ = false;
    Resumption joiner_;
};

/// The awaitable of the end of all children; see `Scope::join`.
class Scope::Join {
public:
    inline explicit Join(Scope& scope) noexcept : scope_{scope} {}
    [[nodiscard]] inline bool await_ready() const noexcept { return scope_.running_ == 0; }
    template <TaskPromise P>
    void await_suspend(std::coroutine_handle<P> joining) noexcept {
        begin(joining, joining.promise().context());
    }
    inline void await_resume() const noexcept {}

private:
    void begin(std::coroutine_handle<> joining, const Context& context) noexcept;
    Scope& scope_;
};

/// The awaitable of `Scope::spawn_when_room`; holds the task until it is started.
class [[nodiscard]] Scope::Spawn : private Waiter {
public:
    inline Spawn(Scope& scope, Task<void> task, const Label* label) noexcept
        : scope_{scope}, task_{std::move(task)}, label_{label}, without_memory_{!task_.made()} {}
    [[nodiscard]] inline bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] Result<void> await_resume() noexcept;

private:
    friend class Scope;
    bool begin(std::coroutine_handle<> task, const Context& context) noexcept;
    Scope& scope_;
    Task<void> task_;
    const Label* label_;
    bool without_memory_;
};

/// See the declarations.
inline Scope::Join Scope::join() noexcept {
    return Join{*this};
}
inline Scope::Spawn Scope::spawn_when_room(Task<void> task, const Label* label) noexcept {
    return Spawn{*this, std::move(task), label};
}

}  // namespace ringfort::coro
