module;
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {
namespace {

/// Counts the sent bytes that the peer has not taken: not acknowledged, or, in a unix socket, not
/// read.
std::uint64_t undelivered(RawFd socket) noexcept {
    int bytes = 0;
    return ::ioctl(socket, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<std::uint64_t>(bytes)
                                                               : 0;
}

/// Returns a number that changes whenever the peer takes bytes.
std::uint64_t delivered(RawFd socket) noexcept {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
        size >= offsetof(tcp_info, tcpi_bytes_acked) + sizeof info.tcpi_bytes_acked)
        return info.tcpi_bytes_acked;
    return undelivered(socket);
}

void change_flags(RawFd socket, int set, int clear) noexcept {
    const int flags = ::fcntl(socket, F_GETFL);
    (void)::fcntl(socket, F_SETFL, (flags | set) & ~clear);
}

}  // namespace

IdleGuard::IdleGuard(uring::Loop& loop, coro::Scope& scope, std::optional<Milliseconds> limit,
                     std::array<RawFd, 2> sockets) noexcept
    : Timer{[](coro::Timer& timer) noexcept { static_cast<IdleGuard&>(timer).look(); }},
      loop_{loop},
      scope_{scope},
      limit_{limit.value_or(Milliseconds{0})},
      sockets_{sockets} {
    touch();
    if (limit) loop_.scheduler().timers().arm(*this, last_ + limit_);
}

void IdleGuard::look() noexcept {
    if (last_ + limit_ <= loop_.scheduler().time() && delivers()) touch();
    const Instant time = loop_.scheduler().time();
    if (last_ + limit_ > time) return loop_.scheduler().timers().arm(*this, last_ + limit_);
    // The loop itself may have been held up: what has arrived meanwhile is noted in this turn.
    if (std::exchange(suspected_, last_) != last_)
        return loop_.scheduler().timers().arm(*this, time + Milliseconds{1});
    expired_ = true;
    scope_.cancel();
}

/// Tells whether the kernel has bytes left to deliver and has delivered some since the last look;
/// true at the first one.
bool IdleGuard::delivers() noexcept {
    if (undelivered(sockets_[0]) + undelivered(sockets_[1]) == 0) return false;
    const std::uint64_t count = delivered(sockets_[0]) + delivered(sockets_[1]);
    const bool goes_on = delivered_ != count;
    delivered_ = count;
    return goes_on;
}

void NonBlocking::enter() const noexcept {
    for (const RawFd socket : sockets_) change_flags(socket, O_NONBLOCK, 0);
}

void NonBlocking::leave() const noexcept {
    for (const RawFd socket : sockets_) change_flags(socket, 0, O_NONBLOCK);
}

}  // namespace ringfort::net
