module;
#include <ringfort/try.h>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {
namespace {

/// Cancels the relay's scope when nothing has moved for the limit. Instead of moving the timer at
/// every byte it notes the time, and looks at it when the timer fires.
class IdleGuard : private coro::Timer {
public:
    IdleGuard(uring::Loop& loop, coro::Scope& scope, std::optional<Milliseconds> limit)
        : Timer{[](coro::Timer& timer) noexcept { static_cast<IdleGuard&>(timer).look(); }},
          loop_{loop},
          scope_{scope},
          limit_{limit} {
        touch();
        if (limit_) loop_.scheduler().timers().arm(*this, last_ + *limit_);
    }

    void touch() noexcept { last_ = loop_.scheduler().time(); }
    [[nodiscard]] bool expired() const noexcept { return expired_; }

private:
    void look() noexcept {
        if (last_ + *limit_ > loop_.scheduler().time())
            return loop_.scheduler().timers().arm(*this, last_ + *limit_);
        expired_ = true;
        scope_.cancel();
    }

    uring::Loop& loop_;
    coro::Scope& scope_;
    std::optional<Milliseconds> limit_;
    Instant last_{};
    bool expired_ = false;
};

coro::Task<Result<void>> pump(Stream& from, Stream& to, IdleGuard& guard, std::uint64_t& moved) {
    for (;;) {
        RF_CO_LET(const Chunk chunk, co_await from.receive());
        guard.touch();
        if (chunk.empty()) break;
        RF_CO_TRY(co_await to.send_all(chunk));
        guard.touch();
        moved += chunk.size();
    }
    // The reader may have left altogether: then there is nobody to tell that no more will come.
    const auto told = to.shutdown_write();
    if (!told && !told.error().is(std::errc::not_connected)) co_return told.error();
    co_return {};
}

/// Runs one direction; its failure ends the other one, and only the first failure is kept.
coro::Task<void> run_direction(coro::Task<Result<void>> direction, coro::Scope& scope,
                               std::optional<Error>& failure) {
    const auto outcome = co_await std::move(direction);
    if (outcome) co_return;
    if (!failure) failure = outcome.error();
    scope.cancel();
}

}  // namespace

coro::Task<Result<void>> relay(uring::Loop& loop, Stream& first, Stream& second,
                               std::optional<Milliseconds> idle_limit, RelayTotals& totals) {
    coro::Scope scope{co_await coro::current_context()};
    IdleGuard guard{loop, scope, idle_limit};
    std::optional<Error> failure;
    scope.spawn(run_direction(pump(first, second, guard, totals.forward), scope, failure));
    scope.spawn(run_direction(pump(second, first, guard, totals.backward), scope, failure));
    co_await scope.join();
    if (!failure) co_return {};
    first.reset_on_close();
    second.reset_on_close();
    if (guard.expired()) co_return Error{"relay", std::errc::timed_out};
    co_return *failure;
}

}  // namespace ringfort::net
