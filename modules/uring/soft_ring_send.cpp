module;
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// Sending, after io_send and io_sendmsg of Linux's io_uring/net.c.
namespace ringfort::uring::soft {

std::optional<Outcome> Engine::push(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    const bool all = (sqe.msg_flags & MSG_WAITALL) != 0 || request.wants(IORING_RECVSEND_BUNDLE);
    const int flags =
        (static_cast<int>(sqe.msg_flags) & ~MSG_WAITALL) | MSG_DONTWAIT | MSG_NOSIGNAL;
    const bool simple =
        sqe.opcode == IORING_OP_SEND && sqe.addr2 == 0 && !request.has(IOSQE_BUFFER_SELECT);
    const std::size_t left =
        simple ? sqe.len - static_cast<std::size_t>(request.done) : request.text().left();
    ssize_t count = 0;
    do {
        if (simple) {
            const auto* memory =
                reinterpret_cast<const std::byte*>(static_cast<std::uintptr_t>(sqe.addr));
            count = ::send(sqe.fd, memory + request.done, left, flags);
        } else {
            count = ::sendmsg(sqe.fd, &request.text().header, flags);
        }
    } while (count < 0 && errno == EINTR);

    if (count < 0) {
        if (errno == EAGAIN && (sqe.msg_flags & MSG_DONTWAIT) == 0) return wait(request, POLLOUT);
        const auto result = request.done > 0 ? static_cast<std::int32_t>(request.done) : -errno;
        return fail(request, result, request.buffer_flags);
    }
    progress_ = true;
    request.done += static_cast<std::uint64_t>(count);
    if (!all || static_cast<std::size_t>(count) == left) return {};
    if (!simple) {
        Message& message = request.text();
        message.advance(static_cast<std::size_t>(count));
        message.header.msg_control = nullptr;  // went with the first byte
        message.header.msg_controllen = 0;
    }
    if ((sqe.msg_flags & MSG_DONTWAIT) != 0)  // told of even where success is not
        return fail(request, static_cast<std::int32_t>(request.done), request.buffer_flags);
    return wait(request, POLLOUT);
}

Outcome Engine::send(Request& request) {
    if (put_off(request, IORING_RECVSEND_POLL_FIRST, POLLOUT)) return wait(request, POLLOUT);
    const bool bundle = request.wants(IORING_RECVSEND_BUNDLE);
    while (true) {
        if (request.has(IOSQE_BUFFER_SELECT) && request.buffer_flags == 0 &&
            !take_buffers(request, bundle ? limits::soft_ring_bundle : 1))
            return fail(request, -ENOBUFS);
        if (const auto outcome = push(request)) return *outcome;
        const auto done = static_cast<std::int32_t>(request.done);
        if (!bundle || request.exhausted) return end(request, done, request.buffer_flags);
        more(request, done, request.buffer_flags);
        request.done = 0;
        request.buffer_flags = 0;
        request.sqe.len = 0;  // it bounds the first bundle alone
    }
}

bool Engine::take_buffers(Request& request, std::size_t most) {
    const std::uint16_t group = request.sqe.buf_group;
    Message& message = request.text();
    message.parts.clear();
    message.first = 0;
    const std::size_t length = buffers.peek(group, request.sqe.len, most, message.parts);
    if (message.parts.empty()) return false;
    message.advance(0);
    // Used up before a byte is sent: the next request takes what comes after.
    const auto count = static_cast<unsigned>(message.parts.size());
    request.buffer_flags = buffers.commit(group, length, count);
    request.exhausted = !buffers.available(group);
    return true;
}

}  // namespace ringfort::uring::soft
