module;
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
export module ringfort.uring:zero_copy;

import ringfort.base;
import ringfort.coro;
import :loop;
import :multishot;
import :request;

export namespace ringfort::uring {

/// Awaits that all bytes are sent and that the kernel has let go of them: it takes them from where
/// they are instead of copying them (IORING_OP_SEND_ZC). Send one after the other.
///
/// That is when the peer has acknowledged them, so each send costs a round trip, and cancelling
/// waits for it too: a peer that does not read holds its sender until the connection is reset.
/// Where the kernel cannot send so (another kind of socket, RLIMIT_MEMLOCK or
/// net.core.optmem_max used up, no such operation), it copies. Errors: those of send(2); ECANCELED,
/// ETIMEDOUT: then some bytes may have gone.
class ZeroCopySend : private Multishot, private coro::CancelHook, private coro::Timer {
public:
    /// `bytes` must live until completion; never raises SIGPIPE.
    ZeroCopySend(Loop& loop, RawFd socket, std::span<const std::byte> bytes,
                 std::optional<Milliseconds> limit = {}) noexcept;
    ~ZeroCopySend();

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <coro::TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] Result<void> await_resume() const noexcept;

private:
    enum class State : std::uint8_t { idle, waiting, done };

    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    void cancel() noexcept;
    void take(int result, std::uint32_t flags) noexcept;
    void conclude() noexcept;
    void finish(int result) noexcept;

    Milliseconds limit_;  ///< negative: none
    State state_ = State::idle;
    bool stopping_ = false;
    bool timed_out_ = false;
    int result_ = 0;
    coro::Resumption resumption_;
};

}  // namespace ringfort::uring
