export module ringfort.coro:waiter;

import ringfort.std;
import :cancel;
import :context;
import :list;
import :ready;

export namespace ringfort::coro {

/// A task that waits in a list for something to happen in this thread: the base of the awaitables
/// of Event, Mutex, Semaphore, Channel and their like. Goes on once, because it was woken or
/// because it was cancelled: what was given to it before is not taken back.
class Waiter : public ListNode<Waiter>, private CancelHook {
public:
    Waiter(Waiter&&) = delete;

    /// Ends the waiting: leaves the list and queues the task.
    void wake() noexcept;

protected:
    Waiter() noexcept;
    ~Waiter();

    /// Joins the end of `list` until woken or cancelled. Returns false, and does not wait, when the
    /// task was cancelled before.
    bool wait(std::coroutine_handle<> task, const Context& context, List<Waiter>& list) noexcept;
    /// For an awaitable that need not wait: goes on at once while the task has units to spend,
    /// returning false; else queues it behind the others and returns true.
    bool pass(std::coroutine_handle<> task, const Context& context) noexcept;
    /// Notes that the task has gone on; returns whether that was because of a cancellation. To be
    /// called once, by `await_resume`.
    bool resumed_cancelled() noexcept;

private:
    enum class State : std::uint8_t { idle, waiting, queued, cancelled };
    void queue(State state) noexcept;

    Scheduler* scheduler_ = nullptr;
    State state_ = State::idle;
    Resumption resumption_;
};

}  // namespace ringfort::coro
