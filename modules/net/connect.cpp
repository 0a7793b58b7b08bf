module;
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <ringfort/try.h>
#include <chrono>
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

/// Makes a socket; waits within `limit` for a descriptor if there is none.
coro::Task<Result<Fd>> make_socket(uring::Loop& loop, int family,
                                   std::optional<Milliseconds> limit) {
    const Instant begun = now();
    for (;;) {
        Fd socket{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        if (socket) co_return socket;
        const Error error = Error::last("socket");
        if (!is_exhaustion(error) || !limit || now() - begun >= *limit) co_return error;
        RF_CO_TRY(co_await loop.sleep(limits::accept_backoff_ms));
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
    RF_CO_LET(Fd socket, co_await make_socket(loop, address.family(), limit));
    if (address.is_unix()) {
        RF_CO_TRY(connect_unix(socket, address));
    } else {
        const int on = 1;  // bytes are relayed as they come: waiting for more would add delay
        (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        RF_CO_TRY(co_await loop.connect(socket.get(), address, limit));
    }
    co_return Stream{loop, std::move(socket)};
}

}  // namespace ringfort::net
