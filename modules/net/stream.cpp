module;
#include <sys/socket.h>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <utility>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {

Result<void> Stream::shutdown_write() noexcept {
    ensure(!socket_.sends(), "a stream's end would overtake what was posted: flush first");
    // Not an operation of the ring: that one would be punted to a kernel thread.
    if (::shutdown(socket_.fd(), SHUT_WR) != 0) return Error::last("shutdown");
    return {};
}

void Stream::reset_on_close() noexcept {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    (void)::setsockopt(socket_.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

coro::Task<void> close_gently(Stream stream) {
    if (!co_await stream.flush(limits::linger_timeout_ms)) co_return;
    if (!stream.shutdown_write()) co_return;
    const Instant end = now() + limits::linger_timeout_ms;
    for (;;) {
        const auto left = std::chrono::duration_cast<Milliseconds>(end - now());
        if (left <= Milliseconds{0}) co_return;
        const auto chunk = co_await stream.receive(left);
        if (!chunk || chunk->empty()) co_return;
    }
}

Result<Address> Stream::peer() const {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getpeername(socket_.fd(), reinterpret_cast<sockaddr*>(&storage), &size) != 0)
        return Error::last("getpeername");
    return Address::from(reinterpret_cast<const sockaddr*>(&storage), size);
}

}  // namespace ringfort::net
