export module ringfort.coro:task;

import ringfort.base;
import ringfort.std;
import :cancel;
import :context;
import :outcome;
import :ready;
import :scheduler;

namespace ringfort::coro {

/// Awaited in a Task<Result<U>>: yields the value, or ends the task with the error.
template <class R>
class Try {
public:
    explicit Try(R& result) noexcept : result_{result} {}
    [[nodiscard]] bool await_ready() const noexcept { return result_.has_value(); }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> task) noexcept {
        return task.promise().leave(result_.error());
    }
    decltype(auto) await_resume() noexcept {
        if constexpr (!std::is_void_v<typename R::value_type>) return (*result_);
    }

private:
    R& result_;
};

/// The same for a result that is a temporary: its value is moved out of it.
template <class R>
class TryMove : public Try<R> {
public:
    explicit TryMove(R& result) noexcept : Try<R>{result}, moved_{result} {}
    typename R::value_type await_resume() noexcept {
        if constexpr (!std::is_void_v<typename R::value_type>) return *std::move(moved_);
    }

private:
    R& moved_;
};

}  // namespace ringfort::coro

export namespace ringfort::coro {

/// A lazy coroutine: starts when awaited, ends before its awaiter goes on, and passes on an
/// exception that left its body. Move-only. Inherits the Context of the awaiting task. Awaiting and
/// finishing are symmetric transfers: a chain of any length uses no stack. Its frame comes from
/// `allocate_frame`; when there is no memory for it, awaiting it yields ENOMEM if its value is a
/// Result, and throws std::bad_alloc otherwise.
///
/// In a Task<Result<U>>, `co_await` on a Result yields its value, or ends the task with its error,
/// as Rust's `?` does: `auto chunk = co_await co_await stream.receive();`. The error is kept first,
/// then the locals are destroyed from the innermost outwards, then the arguments, then the awaiter
/// goes on.
///
/// Dropping a task that was never awaited destroys its arguments. Dropping one that is suspended in
/// the middle aborts, because something still refers to its frame; so does awaiting one twice, or
/// after it was moved from.
/// Not [[clang::coro_await_elidable]]: against frames from the free list it gained nothing that
/// could be measured, and a frame would hold those of calls that it does not make.
template <class T = void>
class [[nodiscard("a task does nothing until it is awaited")]] [[clang::coro_return_type]]
[[clang::coro_lifetimebound]] Task {
public:
    class promise_type;
    using value_type = T;

    Task(Task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
    Task& operator=(Task&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~Task() {
        if (!has_frame()) return;
        ensure(!frame_.promise().running(frame_), "a running task was destroyed");
        frame_.destroy();
    }

    /// Runs the task below `cancel` instead of the awaiting task's source: for time limits and
    /// scopes.
    [[nodiscard]] auto under(CancelSource& cancel) && noexcept { return Awaiter{*this, &cancel}; }
    auto operator co_await() && noexcept { return Awaiter{*this, nullptr}; }

private:
    friend class Scope;
    using Frame = std::coroutine_handle<promise_type>;

    struct Awaiter {
        Task& task;
        CancelSource* cancel;

        [[nodiscard]] bool await_ready() const noexcept { return !task.made(); }
        template <TaskPromise P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> awaiting) noexcept {
            promise_type& promise = task.frame_.promise();
            promise.begin(awaiting, awaiting.promise().context());
            if (cancel != nullptr) promise.context().cancel = cancel;
            return task.frame_;
        }
        T await_resume() {
            if (!task.has_frame()) [[unlikely]]
                return without_memory();
            if constexpr (is_result<T>)
                if (task.frame_.promise().left()) [[unlikely]]
                    return task.leave();
            return task.frame_.promise().take();
        }
    };

    explicit Task(Frame frame) noexcept : frame_{frame} {}

    /// The frame of a task for which there was no memory. No frame begins there.
    static Frame no_memory() noexcept {
        return Frame::from_address(reinterpret_cast<void*>(std::uintptr_t{1}));
    }
    [[nodiscard]] bool has_frame() const noexcept {
        return reinterpret_cast<std::uintptr_t>(frame_.address()) > 1;
    }
    /// Tells whether there was memory for the frame. Aborts when the task was moved from.
    [[nodiscard]] bool made() const noexcept {
        ensure(frame_ != nullptr, "a task was used after it was moved from");
        return has_frame();
    }
    static T without_memory() {
        if constexpr (is_result<T>)
            return Error{"make a coroutine's frame", std::errc::not_enough_memory};
        else
            throw std::bad_alloc{};
    }
    /// Ends a task that left early, in the middle of its body.
    T leave() {
        T error = frame_.promise().take();
        std::exchange(frame_, nullptr).destroy();
        return error;
    }

    Frame frame_;
};

template <class T>
class Task<T>::promise_type : public Promise, public Outcome<T> {
public:
    Task get_return_object() noexcept { return Task{Frame::from_promise(*this)}; }
    static Task get_return_object_on_allocation_failure() noexcept { return Task{no_memory()}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
        struct Transfer {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(Frame frame) noexcept {
                return frame.promise().end(frame);
            }
            void await_resume() noexcept {}
        };
        return Transfer{};
    }

    template <class A>
    A&& await_transform(A&& awaitable) noexcept {
        return static_cast<A&&>(awaitable);
    }
    template <class U>
    auto await_transform(Result<U>&& result) noexcept {
        static_assert(is_result<T>, "co_await on a Result needs a Task<Result<...>> to end");
        return TryMove<Result<U>>{result};
    }
    template <class U>
    auto await_transform(Result<U>& result) noexcept {
        static_assert(is_result<T>, "co_await on a Result needs a Task<Result<...>> to end");
        return Try<Result<U>>{result};
    }
    template <class U>
    auto await_transform(const Result<U>& result) noexcept {
        static_assert(is_result<T>, "co_await on a Result needs a Task<Result<...>> to end");
        return Try<const Result<U>>{result};
    }

    /// Ends the task in the middle of its body; returns who goes on.
    std::coroutine_handle<> leave(const Error& error) noexcept {
        this->return_value(error);
        stage_ = Stage::left;
        return continuation_;
    }

private:
    friend class Task;
    friend class Scope;
    enum class Stage : std::uint8_t { created, begun, left };

    [[nodiscard]] bool running(Frame frame) const noexcept {
        return stage_ == Stage::begun && !frame.done();
    }
    [[nodiscard]] bool left() const noexcept { return stage_ == Stage::left; }
    void begin(std::coroutine_handle<> continuation, const Context& inherited) noexcept {
        ensure(stage_ == Stage::created, "a task was awaited twice");
        stage_ = Stage::begun;
        continuation_ = continuation;
        context() = inherited;
    }
    /// Starts the task at the next opportunity, as `owner`'s.
    void spawn(Owner& owner, const Context& inherited) noexcept
        requires std::is_void_v<T>
    {
        begin(std::noop_coroutine(), inherited);
        this->owner_ = &owner;
        this->start_.prepare(Frame::from_promise(*this), inherited);
        inherited.scheduler->push(this->start_);
    }
    std::coroutine_handle<> end(Frame frame) noexcept {
        const std::coroutine_handle<> next = continuation_;
        if constexpr (std::is_void_v<T>) {
            if (Owner* owner = this->owner_; owner != nullptr) {
                frame.destroy();
                owner->ended();
            }
        }
        return next;
    }

    std::coroutine_handle<> continuation_;
    Stage stage_ = Stage::created;
};

}  // namespace ringfort::coro
