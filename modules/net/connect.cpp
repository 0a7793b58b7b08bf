module;
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <ringfort/try.h>
#include <algorithm>
#include <chrono>
#include <compare>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {

namespace {

/// What is left of `limit` after `begun`, at least nothing; nothing at all without a limit.
std::optional<Milliseconds> left_of(std::optional<Milliseconds> limit, Instant begun) {
    if (!limit) return std::nullopt;
    const auto used = std::chrono::duration_cast<Milliseconds>(now() - begun);
    return std::max(*limit - used, Milliseconds{0});
}

/// Makes a socket; waits within `limit` for a descriptor if there is none.
coro::Task<Result<Fd>> make_socket(uring::Loop& loop, int family,
                                   std::optional<Milliseconds> limit) {
    const Instant begun = now();
    for (;;) {
        Fd socket{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        if (socket) co_return socket;
        const Error error = Error::last("socket");
        const auto left = left_of(limit, begun).value_or(Milliseconds{0});
        if (!is_exhaustion(error) || left == Milliseconds{0}) co_return error;
        RF_CO_TRY(co_await loop.sleep(std::min(left, limits::accept_backoff_ms)));
    }
}

/// Connects a unix socket, which never has to wait: in a ring it would occupy a kernel thread while
/// the backlog is full.
Result<void> connect_unix(const Fd& socket, const Address& address) {
    const int flags = ::fcntl(socket.get(), F_GETFL);
    (void)::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
    const int outcome = ::connect(socket.get(), address.data(), address.size());
    const Error error = Error::last("connect");
    (void)::fcntl(socket.get(), F_SETFL, flags);
    if (outcome != 0) return error;
    return {};
}

}  // namespace

coro::Task<Result<Stream>> connect(uring::Loop& loop, Address address,
                                   std::optional<Milliseconds> limit) {
    const Instant begun = now();
    RF_CO_LET(Fd socket, co_await make_socket(loop, address.family(), limit));
    if (address.is_unix()) {
        RF_CO_TRY(connect_unix(socket, address));
    } else {
        const int on = 1;  // bytes are relayed as they come: waiting for more would add delay
        (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        RF_CO_TRY(co_await loop.connect(socket.get(), address, left_of(limit, begun)));
    }
    co_return Stream{loop, std::move(socket)};
}

}  // namespace ringfort::net
