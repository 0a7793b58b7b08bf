module;
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>
#include <variant>
export module ringfort.coro:task;

import ringfort.base;
import :context;

namespace ringfort::coro {

template <class T>
class ResultSlot {
public:
    template <class U = T>
    void return_value(U&& value) {
        outcome_.template emplace<1>(std::forward<U>(value));
    }
    void unhandled_exception() noexcept { outcome_.template emplace<2>(std::current_exception()); }
    T take() {
        if (outcome_.index() == 2) std::rethrow_exception(std::get<2>(outcome_));
        return std::move(std::get<1>(outcome_));
    }

private:
    std::variant<std::monostate, T, std::exception_ptr> outcome_;
};

template <>
class ResultSlot<void> {
public:
    void return_void() noexcept {}
    void unhandled_exception() noexcept { exception_ = std::current_exception(); }
    void take() {
        if (exception_) std::rethrow_exception(exception_);
    }

private:
    std::exception_ptr exception_;
};

}  // namespace ringfort::coro

export namespace ringfort::coro {

/// A lazy coroutine: starts when awaited, ends before its awaiter goes on, and passes on an
/// exception that left its body. Move-only. Inherits the Context of the awaiting task. Awaiting and
/// finishing are symmetric transfers: a chain of any length uses no stack.
///
/// Dropping a task that was never awaited destroys its arguments; dropping one that is suspended in
/// the middle aborts, because something still refers to its frame.
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
        if (!frame_) return;
        ensure(!frame_.promise().started || frame_.done(), "a running task was destroyed");
        frame_.destroy();
    }

    /// Runs the task below `cancel` instead of the awaiting task's source: for time limits and
    /// scopes.
    [[nodiscard]] auto under(CancelSource& cancel) && noexcept { return Awaiter{frame_, &cancel}; }
    auto operator co_await() && noexcept { return Awaiter{frame_, nullptr}; }

private:
    using Frame = std::coroutine_handle<promise_type>;

    struct Awaiter {
        Frame frame;
        CancelSource* cancel;

        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <TaskPromise P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> awaiting) noexcept {
            promise_type& promise = frame.promise();
            ensure(!promise.started, "a task was awaited twice");
            promise.started = true;
            promise.continuation = awaiting;
            promise.context() = awaiting.promise().context();
            if (cancel != nullptr) promise.context().cancel = cancel;
            return frame;
        }
        T await_resume() { return frame.promise().take(); }
    };

    explicit Task(Frame frame) noexcept : frame_{frame} {}

    Frame frame_;
};

template <class T>
class Task<T>::promise_type : public Promise, public ResultSlot<T> {
public:
    Task get_return_object() noexcept { return Task{Frame::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
        struct Transfer {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(Frame frame) noexcept {
                return frame.promise().continuation;
            }
            void await_resume() noexcept {}
        };
        return Transfer{};
    }

private:
    friend class Task;
    std::coroutine_handle<> continuation;
    bool started = false;
};

}  // namespace ringfort::coro
