module;
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// Receiving, after io_recv and io_recvmsg of Linux's io_uring/net.c.
namespace ringfort::uring::soft {

namespace {

std::uint32_t receive_events(const Request& request) noexcept {
    if ((request.sqe.msg_flags & MSG_ERRQUEUE) != 0) return POLLERR;
    return (request.sqe.msg_flags & MSG_OOB) != 0 ? POLLPRI : POLLIN;
}

int receive_flags(const Request& request) noexcept {
    return static_cast<int>(request.sqe.msg_flags) | MSG_DONTWAIT;
}

/// A stream may bring the rest later; a datagram that was too short stays so.
bool brings_rest(RawFd socket) noexcept {
    int type = 0;
    socklen_t length = sizeof type;
    return ::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
           (type == SOCK_STREAM || type == SOCK_SEQPACKET);
}

ssize_t take(RawFd socket, std::vector<iovec>& parts, int flags) noexcept {
    ssize_t count = 0;
    do {
        if (parts.size() == 1) {
            count = ::recv(socket, parts[0].iov_base, parts[0].iov_len, flags);
        } else {
            msghdr header{};
            header.msg_iov = parts.data();
            header.msg_iovlen = parts.size();
            count = ::recvmsg(socket, &header, flags);
        }
    } while (count < 0 && errno == EINTR);
    return count;
}

/// Counts what a multishot receive has received against the most it was asked for, if there is
/// such a bound; reports whether it is reached (IORING_RECV_MSHOT_LIM).
bool reaches_bound(Request& request) noexcept {
    std::uint32_t& left = request.sqe.file_index;  // the place of optlen
    if (left == 0) return false;
    left -= static_cast<std::uint32_t>(std::min<std::uint64_t>(left, request.done));
    return left == 0;
}

/// Counts the buffers that `count` bytes reach into.
unsigned touched(const std::vector<iovec>& parts, std::size_t count) noexcept {
    unsigned buffers = 0;
    while (count > 0) count -= std::min(count, parts[buffers++].iov_len);
    return buffers;
}

}  // namespace

bool Engine::waits_all(const Request& request) const noexcept {
    constexpr unsigned asked = MSG_WAITALL;
    if ((request.sqe.msg_flags & (MSG_WAITALL | MSG_PEEK)) != asked) return false;
    // The rest of a buffer that several requests share cannot be kept for this one.
    return !request.has(IOSQE_BUFFER_SELECT) ||
           (!request.wants(IORING_RECVSEND_BUNDLE) && !buffers.incremental(request.sqe.buf_group));
}

bool Engine::put_off(Request& request, unsigned poll_first, std::uint32_t events) noexcept {
    if (request.woken) return false;
    if (request.wants(poll_first)) return true;
    if ((request.sqe.msg_flags & MSG_DONTWAIT) != 0) return false;
    if (readiness.has_waiter(request.sqe.fd, events)) return true;  // keep the order
    return (events & POLLIN) != 0 && readiness.announces(request.sqe.fd, events);
}

bool Engine::put_off_receive(Request& request) noexcept {
    const bool starved = request.has(IOSQE_BUFFER_SELECT) && request.buffer_flags == 0 &&
                         !buffers.available(request.sqe.buf_group);
    return (!starved || request.wants(IORING_RECVSEND_POLL_FIRST)) &&
           put_off(request, IORING_RECVSEND_POLL_FIRST, receive_events(request));
}

Outcome Engine::receive(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    const bool select = request.has(IOSQE_BUFFER_SELECT);
    const bool multishot = request.wants(IORING_RECV_MULTISHOT);
    if (put_off_receive(request)) return wait(request, receive_events(request));

    for (unsigned i = 0; i < limits::soft_ring_receives; ++i) {
        if (i > 0 && !queues.room()) break;
        parts_.clear();
        if (select && request.buffer_flags == 0) {
            const bool bundle = request.wants(IORING_RECVSEND_BUNDLE);
            (void)buffers.peek(sqe.buf_group, sqe.len, bundle ? limits::soft_ring_bundle : 1,
                               parts_);
            if (parts_.empty()) return fail(request, -ENOBUFS);
        } else if (select) {
            parts_ = request.text().parts;
        } else {
            auto* memory = reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(sqe.addr));
            parts_.push_back({memory + request.done, sqe.len - request.done});
        }
        std::size_t capacity = 0;
        for (const iovec& part : parts_) capacity += part.iov_len;

        const ssize_t count = take(sqe.fd, parts_, receive_flags(request));
        if (count < 0) return receive_failed(request, errno);
        readiness.drained(sqe.fd, static_cast<std::size_t>(count) < capacity);
        if (count == 0) {
            const auto done = static_cast<std::int32_t>(request.done);
            return waits_all(request) && capacity > 0 ? fail(request, done, request.buffer_flags)
                                                      : end(request, done, request.buffer_flags);
        }
        const Outcome outcome = received(request, static_cast<std::size_t>(count), capacity);
        if (outcome == Outcome::ended || !multishot) return outcome;
        if (static_cast<std::size_t>(count) < capacity) break;  // the rest is announced
    }
    return wait(request, receive_events(request));
}

Outcome Engine::received(Request& request, std::size_t count, std::size_t capacity) {
    progress_ = true;
    request.done += count;
    if (request.has(IOSQE_BUFFER_SELECT) && request.buffer_flags == 0) {
        request.buffer_flags = buffers.commit(request.sqe.buf_group, count, touched(parts_, count));
        request.exhausted = buffers.exhausted();
    }
    const bool unfinished = waits_all(request) && count < capacity;
    if (unfinished && brings_rest(request.sqe.fd)) {
        if (request.has(IOSQE_BUFFER_SELECT)) {
            Message& message = request.text();
            message.parts = parts_;
            message.first = 0;
            message.advance(count);
        }
        return wait(request, receive_events(request));
    }
    const auto done = static_cast<std::int32_t>(request.done);
    if (!request.wants(IORING_RECV_MULTISHOT))
        return unfinished ? fail(request, done, request.buffer_flags)
                          : end(request, done, request.buffer_flags);
    // A bundle that took the last buffer ends: the program has to provide more anyway.
    if (request.wants(IORING_RECVSEND_BUNDLE) && request.exhausted)
        return end(request, done, request.buffer_flags);
    if (reaches_bound(request)) return end(request, done, request.buffer_flags);
    more(request, done, request.buffer_flags);
    request.done = 0;
    request.buffer_flags = 0;
    return wait(request, receive_events(request));
}

Outcome Engine::receive_failed(Request& request, int error) {
    if (error == EAGAIN && (request.sqe.msg_flags & MSG_DONTWAIT) == 0) {
        readiness.drained(request.sqe.fd, true);
        return wait(request, receive_events(request));
    }
    const auto result = request.done > 0 ? static_cast<std::int32_t>(request.done) : -error;
    return fail(request, result, request.buffer_flags);
}

Outcome Engine::receive_message(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    Message& message = request.text();
    const bool select = request.has(IOSQE_BUFFER_SELECT);
    if (put_off_receive(request)) return wait(request, receive_events(request));

    if (select && request.buffer_flags == 0) {
        message.parts.clear();
        (void)buffers.peek(sqe.buf_group, message.length, 1, message.parts);
        if (message.parts.empty()) return fail(request, -ENOBUFS);
        message.first = 0;
        message.advance(0);
    }
    const std::size_t capacity = message.left();
    msghdr header = message.header;  // which the call changes
    ssize_t count = 0;
    do count = ::recvmsg(sqe.fd, &header, receive_flags(request));
    while (count < 0 && errno == EINTR);
    if (count < 0) return receive_failed(request, errno);

    readiness.drained(sqe.fd, false);
    message.user->msg_namelen = header.msg_namelen;
    message.user->msg_controllen = header.msg_controllen;
    message.user->msg_flags = header.msg_flags;
    const auto moved = static_cast<std::size_t>(count);
    if (select && count > 0 && request.buffer_flags == 0)
        request.buffer_flags = buffers.commit(sqe.buf_group, moved, 1);
    request.done += moved;
    progress_ = true;
    const bool unfinished =
        waits_all(request) && message.header.msg_controllen == 0 && moved < capacity;
    if (unfinished && count > 0 && brings_rest(sqe.fd)) {
        message.advance(moved);
        return wait(request, receive_events(request));
    }
    const auto done = static_cast<std::int32_t>(request.done);
    return unfinished ? fail(request, done, request.buffer_flags)
                      : end(request, done, request.buffer_flags);
}

Outcome Engine::receive_messages(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    const Message& message = request.text();
    const std::size_t name_length = message.header.msg_namelen;
    const std::size_t control_length = message.header.msg_controllen;
    const std::size_t head = sizeof(io_uring_recvmsg_out) + name_length + control_length;
    if (put_off_receive(request)) return wait(request, receive_events(request));

    for (unsigned i = 0; i < limits::soft_ring_receives; ++i) {
        if (i > 0 && !queues.room()) break;
        parts_.clear();
        const std::size_t space = buffers.peek(sqe.buf_group, message.length, 1, parts_);
        if (parts_.empty()) return fail(request, -ENOBUFS);
        if (space < head) return fail(request, -EFAULT);
        auto* memory = static_cast<std::byte*>(parts_[0].iov_base);
        sockaddr_storage name{};
        iovec payload{memory + head, space - head};
        msghdr header{};
        if (name_length > 0) {
            header.msg_name = &name;
            header.msg_namelen = sizeof name;
        }
        if (control_length > 0) {
            header.msg_control = memory + sizeof(io_uring_recvmsg_out) + name_length;
            header.msg_controllen = control_length;
        }
        header.msg_iov = &payload;
        header.msg_iovlen = 1;
        const ssize_t count = ::recvmsg(sqe.fd, &header, receive_flags(request));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return receive_failed(request, errno);

        const io_uring_recvmsg_out out{.namelen = header.msg_namelen,
                                       .controllen = static_cast<__u32>(header.msg_controllen),
                                       .payloadlen = static_cast<__u32>(count),
                                       .flags = static_cast<__u32>(header.msg_flags)};
        std::memcpy(memory, &out, sizeof out);
        std::memcpy(memory + sizeof out, &name,
                    std::min({name_length, std::size_t{header.msg_namelen}, sizeof name}));
        const std::size_t length =
            head + std::min(static_cast<std::size_t>(count), payload.iov_len);
        const std::uint32_t flags = buffers.commit(sqe.buf_group, length, 1);
        if (count == 0) return end(request, static_cast<std::int32_t>(length), flags);
        more(request, static_cast<std::int32_t>(length), flags);
    }
    readiness.drained(sqe.fd, false);
    return wait(request, receive_events(request));
}

}  // namespace ringfort::uring::soft
