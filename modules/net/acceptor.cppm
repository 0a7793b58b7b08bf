module;
#include <poll.h>
export module ringfort.net:acceptor;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import ringfort.uring;
import :stream;

export namespace ringfort::net {

/// Tells whether an error means that this process or the system has no descriptor or memory left.
[[nodiscard]] bool is_exhaustion(const Error& error);

class Acceptor;

/// Looks every `limits::accept_sweep_ms` for connections that wait although somebody accepts. The
/// kernel wakes one process for a connection; if that one is stopped or dies, only a new request
/// looks at the queue again. One timer and one poll(2) for all the acceptors of a loop.
class Sweep : private coro::Timer {
public:
    explicit Sweep(uring::Loop& loop) noexcept;
    ~Sweep();

private:
    friend class Acceptor;
    void add(Acceptor& acceptor);
    void remove(Acceptor& acceptor) noexcept;
    void look() noexcept;

    uring::Loop& loop_;
    std::vector<Acceptor*> acceptors_;
    std::vector<pollfd> listeners_;  ///< in the same order
};

/// How a listener is accepted from.
struct AcceptorOptions {
    Milliseconds backoff = limits::accept_backoff_ms;  ///< after descriptors have run out
    /// No other process accepts from the listener. Then one request of the ring accepts them all
    /// (uring::AcceptStream), ahead of the user, instead of one at a time.
    bool exclusive = false;
    Sweep* sweep = nullptr;  ///< of a shared listener; outlives the acceptor
};

/// Accepts connections of one listener, which may be shared with other processes: one accept at a
/// time, so that the kernel hands connections round, and not accepting is the way to say "full".
/// Not destroyed while a task accepts from it.
class Acceptor {
public:
    /// `listener` is borrowed, in blocking mode.
    Acceptor(uring::Loop& loop, RawFd listener, const AcceptorOptions& options = {});
    Acceptor(Acceptor&&) = delete;
    ~Acceptor();

    /// Awaits the next connection. A connection that its peer gave up meanwhile is skipped; when
    /// descriptors or memory have run out it logs once and tries again after the back-off, without
    /// spinning; and likewise when a firewall or a security module refuses (EPERM), which it logs
    /// every `limits::accept_warning_ms` at most. Suspends; cancellable: a connection accepted at
    /// that very moment is still returned, or, from an exclusive listener, by the next call.
    /// Errors: ECANCELED; EINVAL, EOPNOTSUPP (a datagram socket), ENOTSOCK and EBADF when the
    /// listener is no listener.
    [[nodiscard]] coro::Task<Result<Stream>> accept();

    /// Returns a connection that has arrived already, or nothing. To be called after an `accept`
    /// was cancelled, until it returns nothing: the kernel may have woken that accept, and no other
    /// process's, for a connection that it then did not take. Suspends. Errors: as for `accept`,
    /// and those after which that would have rested. On a kernel before 6.10 it waits for a
    /// millisecond at most. An exclusive acceptor stops accepting and first returns what it has
    /// accepted ahead.
    [[nodiscard]] coro::Task<Result<std::optional<Stream>>> accept_waiting();

private:
    friend class Sweep;
    class Use;
    [[nodiscard]] coro::Task<Result<Fd>> ask();
    void warn_of_refusal(const Error& error);
    [[nodiscard]] coro::Task<Result<std::optional<Fd>>> take_waiting();

    uring::Loop& loop_;
    RawFd listener_;
    Milliseconds backoff_;
    Sweep* sweep_;
    uring::FdOperation* asking_ = nullptr;  ///< the accept in flight
    bool used_ = false;                     ///< by a task that accepts
    bool exhausted_ = false;
    Instant silent_until_{};                     ///< about refusals
    std::optional<uring::AcceptStream> stream_;  ///< of an exclusive listener
};

}  // namespace ringfort::net
