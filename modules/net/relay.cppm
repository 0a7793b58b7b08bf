module;
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
export module ringfort.net:relay;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;
import :stream;

export namespace ringfort::net {

/// How many bytes a relay has moved, each way; filled in while it runs.
struct RelayTotals {
    std::uint64_t forward = 0;   ///< from the first stream to the second
    std::uint64_t backward = 0;  ///< from the second stream to the first
};

/// Moves bytes both ways between two streams until both have ended.
///
/// An end of one side is passed on to the other as a half-close, and the opposite direction goes
/// on. Each direction holds at most one buffer and receives the next only when that one is sent: a
/// slow reader holds its writer back, and no memory grows. An error on either side ends both, and
/// the other side is closed with a reset, so that cut-off bytes are not taken for all of them.
/// Suspends; cancellable. Errors: the first one of either side; ETIMEDOUT when for `idle_limit` no
/// byte has moved in either direction.
[[nodiscard]] coro::Task<Result<void>> relay(uring::Loop& loop, Stream& first, Stream& second,
                                             std::optional<Milliseconds> idle_limit,
                                             RelayTotals& totals);

}  // namespace ringfort::net
