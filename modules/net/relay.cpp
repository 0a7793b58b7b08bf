module;
#include <array>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <system_error>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {

coro::Task<Result<void>> relay(uring::Loop& loop, Stream& first, Stream& second,
                               std::optional<Milliseconds> idle_limit, RelayTotals& totals) {
    coro::Scope scope{co_await coro::current_context()};
    Relaying relaying{loop, scope, idle_limit, {first.fd(), second.fd()}};
    first.socket().on_send_failure(&relaying);
    second.socket().on_send_failure(&relaying);
    scope.spawn(run({relaying, first, second, totals.forward}));
    scope.spawn(run({relaying, second, first, totals.backward}));
    co_await scope.join();
    first.socket().on_send_failure(nullptr);
    second.socket().on_send_failure(nullptr);
    totals.forward -= second.socket().unsent();
    totals.backward -= first.socket().unsent();
    if (!relaying.failure) co_return {};
    first.reset_on_close();
    second.reset_on_close();
    if (relaying.guard.expired()) co_return Error{"relay", std::errc::timed_out};
    co_return *relaying.failure;
}

}  // namespace ringfort::net
