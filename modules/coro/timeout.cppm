export module ringfort.coro:timeout;

import ringfort.base;
import ringfort.std;
import :cancel;
import :context;
import :outcome;
import :scheduler;
import :timer;

namespace ringfort::coro {

/// Returns what `co_await` asks of an awaitable: an object, or the awaitable itself.
template <class A>
decltype(auto) awaiter_of(A&& awaitable) {
    if constexpr (requires { std::forward<A>(awaitable).operator co_await(); })
        return std::forward<A>(awaitable).operator co_await();
    else if constexpr (requires { operator co_await(std::forward<A>(awaitable)); })
        return operator co_await(std::forward<A>(awaitable));
    else
        return std::forward<A>(awaitable);
}

/// The result of something with a time limit, for what it yields without one.
template <class R>
struct Limited {
    using type = Result<R>;
};
template <class T>
struct Limited<Result<T>> {
    using type = Result<T>;
};

/// Puts another source into a task's context while an awaitable begins below it.
class Below {
public:
    inline Below(Context& context, CancelSource& source) noexcept
        : context_{context}, before_{std::exchange(context.cancel, &source)} {}
    Below(Below&&) = delete;
    inline ~Below() { context_.cancel = before_; }

private:
    Context& context_;
    CancelSource* before_;
};

}  // namespace ringfort::coro

export namespace ringfort::coro {

/// The awaitable of `timeout`. Needs no frame: the awaitable within it begins below a source of its
/// own, which the timer triggers.
template <class A>
class [[nodiscard]] Timeout : private Timer {
    using Awaiter = decltype(awaiter_of(std::declval<A>()));
    using Yielded = decltype(std::declval<Awaiter&>().await_resume());
    using Outcome = typename Limited<Yielded>::type;

public:
    Timeout(Milliseconds limit, A&& awaitable)
        : Timer{[](Timer& timer) noexcept { static_cast<Timeout&>(timer).expire(); }},
          limit_{limit},
          awaiter_{awaiter_of(std::forward<A>(awaitable))} {}

    [[nodiscard]] bool await_ready() { return awaiter_.await_ready(); }
    template <TaskPromise P>
    auto await_suspend(std::coroutine_handle<P> task) {
        Context& context = task.promise().context();
        source_.emplace(context.cancel);
        Scheduler& scheduler = *context.scheduler;
        scheduler.timers().arm(*this, scheduler.after(limit_));
        const Below below{context, *source_};
        return awaiter_.await_suspend(task);
    }
    Outcome await_resume() {
        // Whatever comes, an exception included: nothing is left attached to a source further out.
        struct End {
            Timeout& self;
            ~End() {
                self.disarm();
                self.source_.reset();
            }
        } const end{*this};
        if constexpr (std::is_void_v<Yielded>) {
            awaiter_.await_resume();
            if (expired_) return Error{"wait within a time limit", std::errc::timed_out};
            return {};
        } else if constexpr (is_result<Yielded>) {
            Outcome outcome = awaiter_.await_resume();
            if (expired_ && !outcome && outcome.error().is(std::errc::operation_canceled))
                return Error{"wait within a time limit", std::errc::timed_out};
            return outcome;
        } else {
            return awaiter_.await_resume();
        }
    }

private:
    void expire() noexcept {
        if (source_->requested()) return;  // the task was cancelled before
        expired_ = true;
        source_->request();
    }

    Milliseconds limit_;
    bool expired_ = false;
    std::optional<CancelSource> source_;
    Awaiter awaiter_;
};

/// Awaits `awaitable`, a task or an operation, and cancels it after `limit`, counted from the turn
/// in which it is awaited; then waits until it has ended. To be awaited in the same expression:
/// `co_await timeout(limit, stream.receive())`.
///
/// Yields a Result. When time ran out: ETIMEDOUT in place of ECANCELED; any other outcome that came
/// anyway is delivered; if the awaitable yields nothing, ETIMEDOUT. ECANCELED when the task was
/// cancelled first. An exception of the awaitable is passed on.
template <class A>
[[nodiscard]] Timeout<A> timeout(Milliseconds limit, A&& awaitable [[clang::lifetimebound]]) {
    return Timeout<A>{limit, std::forward<A>(awaitable)};
}

}  // namespace ringfort::coro
