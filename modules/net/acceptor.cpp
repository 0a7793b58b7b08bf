module;
#include <ringfort/try.h>
#include <coroutine>
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

/// Errors of accept(2) that concern one connection, which is gone, and not the listener.
bool skips_one(const Error& error) {
    using enum std::errc;
    for (const std::errc why : {connection_aborted, interrupted, protocol_error, no_protocol_option,
                                network_down, network_unreachable, host_unreachable, timed_out,
                                operation_not_supported, operation_not_permitted})
        if (error.is(why)) return true;
    return false;
}

}  // namespace

bool is_exhaustion(const Error& error) {
    using enum std::errc;
    return error.is(too_many_files_open) || error.is(too_many_files_open_in_system) ||
           error.is(no_buffer_space) || error.is(not_enough_memory);
}

coro::Task<Result<Stream>> Acceptor::accept() {
    for (;;) {
        // Asked for anew from time to time: the kernel wakes one process for a connection, and if
        // that one is stopped or dies, only a new request looks at the queue again.
        auto socket = stream_ ? co_await stream_->next()
                              : co_await loop_.accept(listener_, limits::accept_sweep_ms);
        if (socket) {
            if (std::exchange(exhausted_, false)) log::info("accepting again");
            co_return Stream{loop_, *std::move(socket)};
        }
        if (is_exhaustion(socket.error())) {
            if (!std::exchange(exhausted_, true))
                log::warning(
                    "{}: no connection is accepted until resources are free; retrying every "
                    "{} ms. Raise master.open_files or lower worker.connections.",
                    socket.error().text(), backoff_.count());
            RF_CO_TRY(co_await loop_.sleep(backoff_));
        } else if (!skips_one(socket.error())) {
            co_return socket.error();
        }
    }
}

/// Takes what an exclusive acceptor has accepted ahead, then what waits in the kernel's queue.
coro::Task<Result<std::optional<Fd>>> Acceptor::take_waiting() {
    using enum std::errc;
    if (stream_) {
        auto socket = co_await stream_->last();
        if (!socket || *socket) co_return socket;
    }
    auto socket = co_await loop_.accept_waiting(listener_);
    if (!socket && socket.error().is(invalid_argument))
        socket = co_await loop_.accept(listener_, Milliseconds{1});
    if (socket) co_return *std::move(socket);
    const Error& error = socket.error();
    if (error.is(resource_unavailable_try_again) || error.is(timed_out))
        co_return std::optional<Fd>{};
    co_return error;
}

coro::Task<Result<std::optional<Stream>>> Acceptor::accept_waiting() {
    for (;;) {
        auto socket = co_await take_waiting();
        if (socket && *socket) co_return Stream{loop_, **std::move(socket)};
        if (socket) co_return std::optional<Stream>{};
        if (!skips_one(socket.error())) co_return socket.error();
    }
}

}  // namespace ringfort::net
