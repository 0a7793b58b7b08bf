module;
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// Accepting, connecting and shutting down.
namespace ringfort::uring::soft {

namespace {

/// Sets O_NONBLOCK, and restores what was when it ends unless told to keep it.
class NonBlocking {
public:
    explicit NonBlocking(RawFd fd) noexcept : fd_{fd}, before_{::fcntl(fd, F_GETFL)} {
        if (before_ >= 0 && (before_ & O_NONBLOCK) == 0)
            set_ = ::fcntl(fd, F_SETFL, before_ | O_NONBLOCK) == 0;
    }
    NonBlocking(NonBlocking&&) = delete;
    ~NonBlocking() {
        if (set_) (void)::fcntl(fd_, F_SETFL, before_);
    }

    /// Reports whether a call can block after all.
    [[nodiscard]] bool failed() const noexcept {
        return before_ < 0 || (!set_ && (before_ & O_NONBLOCK) == 0);
    }
    void keep() noexcept { set_ = false; }

private:
    RawFd fd_;
    int before_;
    bool set_ = false;
};

/// Connects without blocking: 0 or errno.
int try_connect(RawFd socket, const msghdr& header) noexcept {
    const NonBlocking guard{socket};
    if (guard.failed()) return errno;
    const auto* address = static_cast<const sockaddr*>(header.msg_name);
    return ::connect(socket, address, header.msg_namelen) == 0 ? 0 : errno;
}

}  // namespace

Outcome Engine::accept(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    const bool multishot = request.wants(IORING_ACCEPT_MULTISHOT);
    if (!request.woken && request.wants(IORING_ACCEPT_POLL_FIRST)) return wait(request, POLLIN);
    {
        // Asked every time: the number may be another listener's by now, and others who share the
        // listener may have changed it. A connection they took first would block us for ever.
        NonBlocking guard{sqe.fd};
        if (guard.failed()) return fail(request, -errno);
        guard.keep();
    }
    auto* address = reinterpret_cast<sockaddr*>(static_cast<std::uintptr_t>(sqe.addr));
    auto* length = reinterpret_cast<socklen_t*>(static_cast<std::uintptr_t>(sqe.addr2));
    for (unsigned i = 0; i < limits::soft_ring_receives; ++i) {
        if (i > 0 && !queues.room()) break;
        const int fd = ::accept4(sqe.fd, address, length, static_cast<int>(sqe.accept_flags));
        if (fd < 0 && errno == EINTR) continue;
        if (fd < 0 && errno == EAGAIN && !request.wants(IORING_ACCEPT_DONTWAIT)) break;
        if (fd < 0) return fail(request, -errno);
        readiness.renewed(fd);
        if (!multishot) return end(request, fd);
        more(request, fd, 0);
    }
    return wait(request, POLLIN);
}

Outcome Engine::connect(Request& request) {
    const RawFd socket = request.sqe.fd;
    const msghdr& target = request.text().header;
    // Asked again once it has come to something, connect(2) tells to what.
    if (!request.in_progress) readiness.distrust(socket);  // usually the first we hear of it
    while (true) {
        const int error = try_connect(socket, target);
        if (error == 0 || (error == EISCONN && request.in_progress)) return end(request, 0);
        // The first attempt after a refused one only tells of that.
        if (error == ECONNABORTED && !request.aborted) {
            request.aborted = true;
            continue;
        }
        if (error == EINPROGRESS || (error == EALREADY && request.in_progress)) {
            request.in_progress = true;
            return wait(request, POLLOUT);
        }
        if (error == EAGAIN) {  // a unix listener's queue is full, which no poll tells the end of
            (void)wait(request, POLLOUT);
            return Outcome::retry;
        }
        return fail(request, -error);
    }
}

Outcome Engine::shut_down(Request& request) {
    const int failed = ::shutdown(request.sqe.fd, static_cast<int>(request.sqe.len));
    return finish(request, failed == 0 ? 0 : -errno);
}

}  // namespace ringfort::uring::soft
