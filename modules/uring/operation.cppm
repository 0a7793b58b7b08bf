module;
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
export module ringfort.uring:operation;

import ringfort.base;
import ringfort.coro;
import :buffers;

export namespace ringfort::uring {

class Loop;

/// What an operation does; see the functions of the same names in Loop.
enum class Opcode : std::uint8_t { accept, accept_waiting, connect, receive, send, poll, read };

/// What an operation asks of the kernel, in the loop's own terms, so that a driver may carry it out
/// by other means than an io_uring.
struct Request {
    Opcode opcode;
    RawFd fd;                       ///< borrowed until the operation has completed
    Step step;                      ///< names the operation in its Error
    const void* address = nullptr;  ///< the bytes, or the socket address
    std::size_t length = 0;         ///< bytes at `address`
    std::uint32_t flags = 0;        ///< poll events, accept flags
};

/// One request in flight, and the awaitable of its result: lives in the frame of the awaiting task.
///
/// Its life: idle -> (waiting for room or for a buffer ->) in flight -> done. Cancelling or the
/// time limit asks the kernel to stop it; the task goes on only when the kernel has answered.
class Operation : private coro::CancelHook, private coro::Timer, private coro::ListNode<Operation> {
public:
    Operation(Loop& loop, const Request& request, std::optional<Milliseconds> limit) noexcept;
    Operation(Operation&&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <coro::TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }

protected:
    ~Operation();
    [[nodiscard]] int result() const noexcept { return result_; }
    [[nodiscard]] Error error() const noexcept { return {request_.step, -result_}; }
    [[nodiscard]] Lease& lease() noexcept { return lease_; }
    [[nodiscard]] std::size_t transferred() const noexcept { return transferred_; }

private:
    friend class Loop;
    friend class coro::List<Operation>;
    enum class State : std::uint8_t { idle, waiting, in_flight, done };

    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    void stop() noexcept;
    void finish(int result) noexcept;

    Loop& loop_;
    Request request_;
    std::optional<Milliseconds> limit_;
    State state_ = State::idle;
    bool stopping_ = false;
    bool timed_out_ = false;
    int result_ = 0;
    std::size_t transferred_ = 0;
    Lease lease_;
    coro::Resumption resumption_;
};

/// Awaits success alone.
class VoidOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] Result<void> await_resume() const noexcept {
        if (result() < 0) return error();
        return {};
    }
};

/// Awaits a non-negative number: poll's events, or the bytes read.
class NumberOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] Result<std::uint32_t> await_resume() const noexcept {
        if (result() < 0) return error();
        return static_cast<std::uint32_t>(result());
    }
};

/// Awaits that every byte is sent: a short send goes on by itself.
class SendOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] Result<void> await_resume() const noexcept {
        if (result() < 0) return error();
        return {};
    }
};

/// Awaits a new descriptor, which the caller owns.
class FdOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] Result<Fd> await_resume() const noexcept {
        if (result() < 0) return error();
        return Fd{result()};
    }
};

/// Awaits bytes in a buffer of the loop's pool; an empty lease means that the peer has closed its
/// half.
class ReceiveOperation : public Operation {
public:
    using Operation::Operation;
    [[nodiscard]] Result<Lease> await_resume() noexcept;
};

/// Awaits a moment. Cancellable.
class Sleep : private coro::CancelHook, private coro::Timer {
public:
    Sleep(Loop& loop, Milliseconds duration) noexcept;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <coro::TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] Result<void> await_resume() const noexcept;

private:
    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    void end() noexcept;

    Loop& loop_;
    Milliseconds duration_;
    bool cancelled_ = false;
    coro::Resumption resumption_;
};

}  // namespace ringfort::uring
