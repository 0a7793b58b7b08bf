export module ringfort.net:connect;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import ringfort.uring;
import :stream;

export namespace ringfort::net {

/// Connects to `address`. When this process has no descriptor left, it waits for one within
/// `limit`, which is that of both together. Suspends; cancellable. Errors: those of socket(2),
/// EMFILE among them, and connect(2): EAGAIN for a unix socket whose backlog is full; ETIMEDOUT
/// after `limit`.
[[nodiscard]] coro::Task<Result<Stream>> connect(uring::Loop& loop, Address address,
                                                 std::optional<Milliseconds> limit = {});

}  // namespace ringfort::net
