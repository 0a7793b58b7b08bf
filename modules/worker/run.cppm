export module ringfort.worker:run;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.net;
import ringfort.shm;
import ringfort.std;
import ringfort.uring;
import :context;
import :peers;
import :service;

export namespace ringfort::worker {

/// Waits until something can be done with a channel: it has a message or its end, or room for what
/// is queued, or what failed for lack of something is to be tried again (ETIMEDOUT).
[[nodiscard]] uring::NumberOperation wait_for(uring::Loop& loop, const channel::Channel& channel);

/// A task of whoever runs the worker, beside the worker's own.
class Companion {
public:
    Companion() = default;
    Companion(Companion&&) = delete;
    virtual ~Companion() = default;

    /// Runs on the worker's loop from before the first command until the last connection has ended;
    /// then it is cancelled.
    [[nodiscard]] virtual coro::Task<void> attend(uring::Loop& loop) = 0;
};

/// What a worker is given by the process that makes it, not by message.
struct Options {
    uring::LoopOptions loop;
    std::uint32_t connections =
        limits::worker_connections;  ///< at once, one more a further listener
    Milliseconds accept_backoff = limits::accept_backoff_ms;
    /// How often the worker notes that it makes progress, in Counter::pulse; 0: never.
    Milliseconds pulse{0};
    /// How long the worker serves on when its master has died, if another can find it; 0: not.
    Milliseconds orphan_grace{0};
    std::map<std::string, ServiceFactory> services;
    /// Runs when the ring, or what stands in for it, exists and before anything is served: drops
    /// privileges.
    std::function<Result<void>(uring::Backend)> ring_made = {};
    /// A signalfd(2), borrowed: TERM and QUIT on it drain. -1 for none.
    RawFd signals = -1;
    Companion* companion = nullptr;  ///< of whoever runs the worker in its own process, if any
};

/// Runs a worker to its end: makes the loop, obeys the channel, serves. Blocks. Returns the exit
/// code: 0 after draining or terminating, 1 when it could not start or a command made no sense.
[[nodiscard]] int run(channel::Channel to_master, Options options);

}  // namespace ringfort::worker
