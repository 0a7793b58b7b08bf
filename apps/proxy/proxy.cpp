module;
#include <ringfort/try.h>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>
module proxy;

import ringfort;

rf::Task<rf::Result<void>> Proxy::serve(rf::net::Stream client, rf::worker::Context& worker) {
    auto upstream = co_await connect(worker.loop());
    if (!upstream) {
        co_await rf::net::close_gently(std::move(client));
        co_return upstream.error();
    }
    rf::net::RelayTotals totals;
    co_return co_await rf::net::relay(worker.loop(), client, *upstream, config_.idle_timeout,
                                      totals);
}

/// Tries every upstream once, beginning with the one whose turn it is.
rf::Task<rf::Result<rf::net::Stream>> Proxy::connect(rf::uring::Loop& loop) {
    const std::size_t first = next_;
    next_ = (next_ + 1) % config_.upstreams.size();
    for (std::size_t i = 0;; ++i) {
        const rf::Address& address = config_.upstreams[(first + i) % config_.upstreams.size()];
        auto upstream = co_await rf::net::connect(loop, address, config_.connect_timeout);
        if (upstream) co_return upstream;
        const bool cut = upstream.error().is(std::errc::operation_canceled);
        if (cut || rf::net::is_exhaustion(upstream.error()))
            co_return upstream.error();  // not its fault
        rf::log::warning("upstream {}: {}", address.text(), upstream.error().text());
        if (i + 1 == config_.upstreams.size()) co_return upstream.error();
    }
}
