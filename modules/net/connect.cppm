module;
#include <coroutine>
#include <exception>
#include <optional>
export module ringfort.net:connect;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;
import :stream;

export namespace ringfort::net {

/// Connects to `address`. Suspends; cancellable. Errors: those of socket(2) and connect(2),
/// ETIMEDOUT after `limit`.
[[nodiscard]] coro::Task<Result<Stream>> connect(uring::Loop& loop, Address address,
                                                 std::optional<Milliseconds> limit = {});

}  // namespace ringfort::net
