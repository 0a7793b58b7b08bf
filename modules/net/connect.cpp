module;
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <ringfort/try.h>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {

coro::Task<Result<Stream>> connect(uring::Loop& loop, Address address,
                                   std::optional<Milliseconds> limit) {
    Fd socket{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) co_return Error::last("socket");
    if (!address.is_unix()) {
        const int on =
            1;  // bytes are relayed as they come: waiting for more to send would add delay
        (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    RF_CO_TRY(co_await loop.connect(socket.get(), address, limit));
    co_return Stream{loop, std::move(socket)};
}

}  // namespace ringfort::net
