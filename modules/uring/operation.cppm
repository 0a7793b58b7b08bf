export module ringfort.uring:operation;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :request;

export namespace ringfort::uring {

class Loop;

/// One request in flight, and the awaitable of its result: lives in the frame of the awaiting task.
///
/// Its life: idle -> (waiting for room ->) in flight -> answered -> done. Cancelling or the time
/// limit asks the kernel to stop it; the task goes on only when the kernel has answered, and a
/// result that came nevertheless is delivered.
class Operation : private coro::CancelHook, private coro::Timer, private coro::ListNode<Operation> {
public:
    Operation(Loop& loop, const Request& request, std::optional<Milliseconds> limit) noexcept;
    Operation(Operation&&) = delete;

    [[nodiscard]] inline bool await_ready() const noexcept { return false; }
    template <coro::TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }

    /// Ends the operation as its time limit would. Does nothing to one that has not begun, has
    /// ended, or is being cancelled.
    inline void expire() noexcept {
        if (!begun() || stopping_) return;
        timed_out_ = true;
        stop();
    }

protected:
    ~Operation();
    /// Returns the kernel's answer, to the task that has gone on.
    [[nodiscard]] inline int result() const noexcept {
        state_ = State::done;
        return result_;
    }
    [[nodiscard]] inline Error error() const noexcept {
        return {step_of(request_.opcode), -result_};
    }
    /// Counts the bytes that were asked for and have not moved.
    [[nodiscard]] inline std::size_t left() const noexcept { return request_.length; }
    /// Tells whether it was never submitted or was cancelled before it began.
    [[nodiscard]] bool cancelled() const noexcept;

private:
    friend class Loop;
    friend class coro::List<Operation>;
    enum class State : std::uint8_t {
        idle,
        waiting,  ///< for room in the submission queue
        in_flight,
        answered,  ///< its task is to go on and look
        done
    };

    /// Tells whether it has begun and not ended.
    [[nodiscard]] inline bool begun() const noexcept {
        return state_ == State::waiting || state_ == State::in_flight;
    }
    /// Tells whether the kernel is to be asked to end it, when something is to be asked.
    [[nodiscard]] inline bool submitted() const noexcept { return state_ == State::in_flight; }
    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    void stop() noexcept;
    void complete(int result) noexcept;
    bool unfinished(int result) noexcept;
    void finish(int result) noexcept;
    bool advance(std::size_t moved) noexcept;

    Loop& loop_;
    Request request_;
    Milliseconds limit_;  ///< negative: none
    mutable State state_ = State::idle;
    bool stopping_ = false;
    bool timed_out_ = false;
    int result_ = 0;
    coro::Resumption resumption_;
};

/// Awaits success alone.
class VoidOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] inline Result<void> await_resume() const noexcept {
        if (result() < 0) return error();
        return {};
    }
};

/// Awaits a non-negative number: poll's events, or the bytes moved.
class NumberOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] inline Result<std::uint32_t> await_resume() const noexcept {
        if (result() < 0) return error();
        return static_cast<std::uint32_t>(result());
    }
};

/// Awaits that every byte is sent: a short send goes on by itself.
using SendOperation = VoidOperation;

/// Awaits a new descriptor, which the caller owns.
class FdOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] inline Result<Fd> await_resume() const noexcept {
        if (result() < 0) return error();
        return Fd{result()};
    }
};

}  // namespace ringfort::uring
