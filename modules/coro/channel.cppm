export module ringfort.coro:channel;

import ringfort.base;
import ringfort.std;
import :context;
import :list;
import :ring;
import :waiter;

export namespace ringfort::coro {

/// Hands values from tasks to tasks of one thread, in order, through a queue of fixed size: who
/// sends faster than others receive waits. No value is lost: what was not sent stays with the
/// sender, what was sent is received by somebody who was not cancelled before, or destroyed with
/// the channel. Destroying it while a task waits aborts.
template <class T>
class Channel {
public:
    class Send;
    class Receive;

    /// Makes one that holds `capacity` values, at least 1; allocates their memory, once. Throws
    /// std::bad_alloc.
    explicit Channel(std::size_t capacity) {
        ensure(capacity > 0, "a channel was made that holds nothing");
        if (!ring_.grow(capacity)) throw std::bad_alloc{};
    }
    Channel(Channel&&) = delete;
    ~Channel() {
        ensure(senders_.empty() && receivers_.empty(),
               "a channel was destroyed with a task waiting for it");
    }

    /// Awaits room and moves `value` into the channel; `value` must live until then, as does a
    /// temporary of the same expression. Suspends while the channel is full. Cancellable:
    /// ECANCELED. Errors: EPIPE when it is or gets closed. On any error `value` is left as it was.
    [[nodiscard]] Send send(T&& value) noexcept { return Send{*this, value}; }
    /// Awaits the oldest value; nothing when the channel is closed and empty. Suspends while it is
    /// empty. Cancellable: ECANCELED, unless a value had been given.
    [[nodiscard]] Receive receive() noexcept { return Receive{*this}; }
    /// As `send`, but never suspends: EAGAIN when the channel is full.
    [[nodiscard]] Result<void> try_send(T&& value) noexcept {
        if (closed_) return Error{"send to a channel", std::errc::broken_pipe};
        if (!put(value))
            return Error{"send to a channel", std::errc::resource_unavailable_try_again};
        return {};
    }
    /// Takes the oldest value, if there is one.
    [[nodiscard]] std::optional<T> try_receive() noexcept {
        if (ring_.size() == 0) return std::nullopt;
        return take();
    }
    /// Lets nothing more in: who sends gets EPIPE, who receives the values that are left.
    void close() noexcept {
        closed_ = true;
        while (Waiter* waiting = senders_.pop_front()) waiting->wake();
        while (Waiter* waiting = receivers_.pop_front()) waiting->wake();
    }
    [[nodiscard]] bool closed() const noexcept { return closed_; }
    /// Counts the values that wait to be received.
    [[nodiscard]] std::size_t size() const noexcept { return ring_.size(); }
    [[nodiscard]] std::size_t capacity() const noexcept { return ring_.capacity(); }

private:
    /// Gives the value to the first that waits for one, or keeps it if there is room.
    bool put(T& value) noexcept {
        if (auto* receiver = static_cast<Receive*>(receivers_.pop_front())) {
            receiver->value_.emplace(std::move(value));
            receiver->wake();
            return true;
        }
        if (ring_.full()) return false;
        ring_.push(std::move(value));
        return true;
    }
    /// Takes the oldest value, and lets the first that waits for room have the place.
    T take() noexcept {
        T value = ring_.pop();
        if (auto* sender = static_cast<Send*>(senders_.pop_front())) {
            ring_.push(std::move(sender->value_));
            sender->sent_ = true;
            sender->wake();
        }
        return value;
    }

    Ring<T> ring_;
    List<Waiter> senders_;    ///< only while the ring is full
    List<Waiter> receivers_;  ///< only while it is empty
    bool closed_ = false;
};

/// The awaitable of `Channel::send`.
template <class T>
class [[nodiscard]] Channel<T>::Send : private Waiter {
public:
    Send(Channel& channel, T& value) noexcept : channel_{channel}, value_{value} {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        const Context& context = task.promise().context();
        if (!context.cancelled() && !channel_.closed_) sent_ = channel_.put(value_);
        if (sent_ || channel_.closed_) return pass(task, context);
        return wait(task, context, channel_.senders_);
    }
    [[nodiscard]] Result<void> await_resume() noexcept {
        if (resumed_cancelled()) return Error{"send to a channel", std::errc::operation_canceled};
        if (!sent_) return Error{"send to a channel", std::errc::broken_pipe};
        return {};
    }

private:
    friend class Channel;
    Channel& channel_;
    T& value_;
    bool sent_ = false;
};

/// The awaitable of `Channel::receive`.
template <class T>
class [[nodiscard]] Channel<T>::Receive : private Waiter {
public:
    explicit Receive(Channel& channel) noexcept : channel_{channel} {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        const Context& context = task.promise().context();
        if (!context.cancelled() && channel_.ring_.size() > 0) value_.emplace(channel_.take());
        if (value_ || (channel_.closed_ && !context.cancelled())) return pass(task, context);
        return wait(task, context, channel_.receivers_);
    }
    [[nodiscard]] Result<std::optional<T>> await_resume() noexcept {
        if (resumed_cancelled())
            return Error{"receive from a channel", std::errc::operation_canceled};
        return std::move(value_);
    }

private:
    friend class Channel;
    Channel& channel_;
    std::optional<T> value_;
};

}  // namespace ringfort::coro
