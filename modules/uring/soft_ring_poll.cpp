module;
#include <liburing.h>
#include <poll.h>

#include <cerrno>
#include <cstdint>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// Polling, after Linux's io_uring/poll.c.
namespace ringfort::uring::soft {

namespace {

constexpr std::uint32_t always_polled = POLLERR | POLLHUP | POLLRDHUP;

/// What holds now of the bits asked for: negative for a closed descriptor.
std::int32_t state(RawFd fd, std::uint32_t mask) noexcept {
    pollfd poll{fd, static_cast<short>(mask | POLLRDHUP), 0};
    if (::poll(&poll, 1, 0) < 0) return -errno;
    if (fd < 0 || (poll.revents & POLLNVAL) != 0) return -EBADF;
    return poll.revents;
}

}  // namespace

Outcome Engine::poll(Request& request) {
    const std::uint32_t mask = request.sqe.poll32_events & 0xFFFF;
    const std::uint32_t events = mask | POLLRDHUP;
    const bool told = request.place == Place::watched && (request.ready & ~0xFFFFU) == 0;
    if (request.on_edges() && request.place == Place::watched) {
        const std::int32_t bits =
            told ? static_cast<std::int32_t>(request.ready & (mask | always_polled))
                 : state(request.sqe.fd, mask);
        if (bits < 0) return finish(request, bits);
        if (bits != 0) more(request, bits, 0);
        return wait(request, events);
    }
    // Being registered announces to a multishot poll what holds already.
    if (request.on_edges() && !request.woken) return wait(request, events);

    const bool exact = told && (request.ready & POLLERR) == 0;
    const std::int32_t found =
        exact ? static_cast<std::int32_t>(request.ready & (mask | always_polled))
              : state(request.sqe.fd, mask);
    return found != 0 ? finish(request, found) : wait(request, events);
}

}  // namespace ringfort::uring::soft
