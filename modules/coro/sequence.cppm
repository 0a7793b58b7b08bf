export module ringfort.coro:sequence;

import ringfort.base;
import ringfort.std;
import :context;
import :list;
import :ring;
import :waiter;

export namespace ringfort::coro {

/// A stream of results that somebody outside of coroutines produces, such as the completions of a
/// multishot operation, and one task consumes. The producer never waits: values are kept until
/// they are consumed, or destroyed with the sequence. Destroying it while a task waits aborts.
template <class T>
class Sequence {
public:
    class Next;

    Sequence() noexcept = default;
    Sequence(Sequence&&) = delete;
    ~Sequence() { ensure(waiting_.empty(), "a sequence was destroyed with a task waiting for it"); }

    /// Makes room for so many values to be kept, so that up to there no `push` can fail. Errors:
    /// ENOMEM.
    [[nodiscard]] Result<void> reserve(std::size_t count) noexcept {
        if (count > ring_.capacity() && !ring_.grow(count))
            return Error{"grow a sequence", std::errc::not_enough_memory};
        return {};
    }
    /// Adds a value, and queues the task that waits for it. Allocates only when more values are
    /// kept than ever before. Errors: ENOMEM, and `value` is left as it was. Aborts after `finish`.
    [[nodiscard]] Result<void> push(T&& value) noexcept {
        ensure(!end_, "a value was pushed into a sequence that is finished");
        if (auto* waiting = static_cast<Next*>(waiting_.pop_front())) {
            waiting->value_.emplace(std::move(value));
            waiting->wake();
            return {};
        }
        if (ring_.full()) {
            const Result<void> grown = reserve(std::max(least, 2 * ring_.capacity()));
            if (!grown) return grown;
        }
        ring_.push(std::move(value));
        return {};
    }
    /// Ends the sequence: when all values are consumed, `next` yields nothing, or this error. The
    /// first call counts.
    void finish(Result<void> outcome) noexcept {
        if (!end_) end_.emplace(std::move(outcome));
        if (Waiter* waiting = waiting_.pop_front()) waiting->wake();
    }
    [[nodiscard]] bool finished() const noexcept { return end_.has_value(); }
    /// Counts the values that wait to be consumed.
    [[nodiscard]] std::size_t size() const noexcept { return ring_.size(); }

    /// Awaits the next value; nothing when the sequence has ended well. Suspends while there is
    /// none. One task at a time. Cancellable: ECANCELED, unless a value had been given; the
    /// sequence goes on. Errors: the one that it was finished with.
    [[nodiscard]] Next next() noexcept { return Next{*this}; }

private:
    static constexpr std::size_t least = 8;

    Ring<T> ring_;
    std::optional<Result<void>> end_;
    List<Waiter> waiting_;  ///< one at most
};

/// The awaitable of `Sequence::next`.
template <class T>
class [[nodiscard]] Sequence<T>::Next : private Waiter {
public:
    explicit Next(Sequence& sequence) noexcept : sequence_{sequence} {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        ensure(sequence_.waiting_.empty(), "two tasks wait for one sequence");
        const Context& context = task.promise().context();
        if (!context.cancelled()) {
            if (sequence_.ring_.size() > 0) value_.emplace(sequence_.ring_.pop());
            if (value_ || sequence_.end_) return pass(task, context);
        }
        return wait(task, context, sequence_.waiting_);
    }
    [[nodiscard]] Result<std::optional<T>> await_resume() noexcept {
        if (resumed_cancelled()) return Error{"wait for a sequence", std::errc::operation_canceled};
        if (!value_ && !*sequence_.end_) return sequence_.end_->error();
        return std::move(value_);
    }

private:
    friend class Sequence;
    Sequence& sequence_;
    std::optional<T> value_;
};

}  // namespace ringfort::coro
