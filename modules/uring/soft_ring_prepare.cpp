module;
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// What the kernel's io_init_req and prep functions refuse, and what they copy.
namespace ringfort::uring::soft {

namespace {

constexpr unsigned known_sqe_flags = IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK |
                                     IOSQE_IO_HARDLINK | IOSQE_ASYNC | IOSQE_BUFFER_SELECT |
                                     IOSQE_CQE_SKIP_SUCCESS;
constexpr unsigned cancel_flags = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD |
                                  IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD_FIXED |
                                  IORING_ASYNC_CANCEL_USERDATA | IORING_ASYNC_CANCEL_OP;

bool needs_file(std::uint8_t opcode) noexcept {
    switch (opcode) {
        case IORING_OP_NOP:
        case IORING_OP_ASYNC_CANCEL:
        case IORING_OP_FUTEX_WAIT:
        case IORING_OP_FUTEX_WAKE:
            return false;
        default:
            return true;
    }
}

bool selects_buffers(std::uint8_t opcode) noexcept {
    return opcode == IORING_OP_RECV || opcode == IORING_OP_RECVMSG || opcode == IORING_OP_READ ||
           opcode == IORING_OP_SEND;
}

bool has_priority_field(std::uint8_t opcode) noexcept {
    return selects_buffers(opcode) || opcode == IORING_OP_SENDMSG || opcode == IORING_OP_WRITE ||
           opcode == IORING_OP_ACCEPT;
}

int copy_address(Message& message, std::uint64_t address, std::size_t length) noexcept {
    if (length > sizeof message.name) return -EINVAL;
    if (address == 0 && length > 0) return -EFAULT;
    if (length > 0)
        std::memcpy(&message.name,
                    reinterpret_cast<const void*>(static_cast<std::uintptr_t>(address)), length);
    message.header.msg_name = &message.name;
    message.header.msg_namelen = static_cast<socklen_t>(length);
    return 0;
}

int copy_message(Request& request) {
    Message& message = request.text();
    message.user = reinterpret_cast<msghdr*>(static_cast<std::uintptr_t>(request.sqe.addr));
    if (message.user == nullptr) return -EFAULT;
    const msghdr& user = *message.user;
    if (user.msg_iovlen > UIO_MAXIOV) return -EMSGSIZE;
    if (request.has(IOSQE_BUFFER_SELECT) && user.msg_iovlen > 1) return -EINVAL;
    message.header = user;
    message.header.msg_flags = 0;
    message.parts.assign(user.msg_iov, user.msg_iov + user.msg_iovlen);
    message.length = user.msg_iovlen > 0 ? user.msg_iov[0].iov_len : 0;
    message.first = 0;
    message.advance(0);
    if (request.sqe.opcode == IORING_OP_SENDMSG && user.msg_name != nullptr)
        return copy_address(message, reinterpret_cast<std::uintptr_t>(user.msg_name),
                            user.msg_namelen);
    return 0;
}

int check_receive(const io_uring_sqe& sqe) noexcept {
    const bool messages = sqe.opcode == IORING_OP_RECVMSG;
    if (sqe.addr2 != 0) return -EINVAL;
    // The place of optlen, which bounds a multishot receive.
    if (sqe.file_index != 0 && (messages || (sqe.ioprio & IORING_RECV_MULTISHOT) == 0))
        return -EINVAL;
    if ((sqe.ioprio &
         ~(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE)) != 0)
        return -EINVAL;
    if (messages && (sqe.ioprio & IORING_RECVSEND_BUNDLE) != 0) return -EINVAL;
    if ((sqe.ioprio & IORING_RECV_MULTISHOT) != 0 &&
        ((sqe.flags & IOSQE_BUFFER_SELECT) == 0 || (sqe.msg_flags & MSG_WAITALL) != 0))
        return -EINVAL;
    return 0;
}

int check_send(const io_uring_sqe& sqe) noexcept {
    const bool message = sqe.opcode == IORING_OP_SENDMSG;
    if (message && (sqe.addr2 != 0 || sqe.file_index != 0)) return -EINVAL;
    if ((sqe.ioprio & ~(IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_BUNDLE)) != 0) return -EINVAL;
    const bool bundle = (sqe.ioprio & IORING_RECVSEND_BUNDLE) != 0;
    return bundle && (message || (sqe.flags & IOSQE_BUFFER_SELECT) == 0) ? -EINVAL : 0;
}

int check_accept(const io_uring_sqe& sqe) noexcept {
    constexpr unsigned known =
        IORING_ACCEPT_MULTISHOT | IORING_ACCEPT_DONTWAIT | IORING_ACCEPT_POLL_FIRST;
    const bool wrong =
        sqe.len != 0 || sqe.buf_index != 0 || sqe.file_index != 0 || (sqe.ioprio & ~known) != 0 ||
        (sqe.accept_flags & ~static_cast<unsigned>(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0;
    return wrong ? -EINVAL : 0;
}

int check_poll(const io_uring_sqe& sqe) noexcept {
    const bool multi = (sqe.len & IORING_POLL_ADD_MULTI) != 0;
    const bool wrong = sqe.buf_index != 0 || sqe.off != 0 || sqe.addr != 0 ||
                       (sqe.len & ~IORING_POLL_ADD_MULTI) != 0 ||
                       (multi && (sqe.flags & IOSQE_CQE_SKIP_SUCCESS) != 0);
    return wrong ? -EINVAL : 0;
}

int check_cancel(const io_uring_sqe& sqe) noexcept {
    const unsigned flags = sqe.cancel_flags;
    const bool any = (flags & IORING_ASYNC_CANCEL_ANY) != 0;
    const bool wrong = sqe.off != 0 || sqe.splice_fd_in != 0 || (flags & ~cancel_flags) != 0 ||
                       (any && (flags & (IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_OP)) != 0);
    return wrong ? -EINVAL : 0;
}

/// Whether the fields are set that an opcode does not know; those it knows are its own matter.
int check_fields(const io_uring_sqe& sqe) noexcept {
    bool wrong = false;
    switch (sqe.opcode) {
        case IORING_OP_CONNECT:
            wrong =
                sqe.len != 0 || sqe.buf_index != 0 || sqe.rw_flags != 0 || sqe.splice_fd_in != 0;
            break;
        case IORING_OP_SHUTDOWN:
            wrong = sqe.off != 0 || sqe.addr != 0 || sqe.rw_flags != 0 || sqe.buf_index != 0 ||
                    sqe.splice_fd_in != 0;
            break;
        case IORING_OP_FSYNC:
            wrong = sqe.addr != 0 || sqe.buf_index != 0 || sqe.splice_fd_in != 0 ||
                    (sqe.fsync_flags & ~IORING_FSYNC_DATASYNC) != 0;
            break;
        case IORING_OP_OPENAT:
        case IORING_OP_STATX:
            wrong = sqe.buf_index != 0 || sqe.file_index != 0;
            break;
        case IORING_OP_CLOSE:
            wrong = sqe.off != 0 || sqe.addr != 0 || sqe.len != 0 || sqe.rw_flags != 0 ||
                    sqe.buf_index != 0 || sqe.file_index != 0;
            break;
        case IORING_OP_FUTEX_WAIT:
        case IORING_OP_FUTEX_WAKE:
            wrong =
                sqe.len != 0 || sqe.futex_flags != 0 || sqe.buf_index != 0 || sqe.file_index != 0;
            break;
        default:
            break;
    }
    return wrong ? -EINVAL : 0;
}

}  // namespace

int Engine::check(const io_uring_sqe& sqe) noexcept {
    if (!SoftRing::supports(sqe.opcode)) return sqe.opcode < IORING_OP_LAST ? -EOPNOTSUPP : -EINVAL;
    constexpr unsigned ordered = IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN;
    if ((sqe.flags & ~known_sqe_flags) != 0 || (sqe.flags & ordered) != 0) return -EINVAL;
    if ((sqe.flags & IOSQE_BUFFER_SELECT) != 0 && !selects_buffers(sqe.opcode)) return -EOPNOTSUPP;
    if (sqe.ioprio != 0 && !has_priority_field(sqe.opcode)) return -EINVAL;
    if (sqe.personality != 0) return -EINVAL;
    int failed = 0;
    switch (sqe.opcode) {
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG:
            failed = check_receive(sqe);
            break;
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
            failed = check_send(sqe);
            break;
        case IORING_OP_ACCEPT:
            failed = check_accept(sqe);
            break;
        case IORING_OP_POLL_ADD:
            failed = check_poll(sqe);
            break;
        case IORING_OP_ASYNC_CANCEL:
            failed = check_cancel(sqe);
            break;
        default:
            failed = check_fields(sqe);
            break;
    }
    if (failed != 0) return failed;
    return (sqe.flags & IOSQE_FIXED_FILE) != 0 && needs_file(sqe.opcode) ? -EBADF : 0;
}

int Engine::prepare(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    switch (sqe.opcode) {
        case IORING_OP_RECVMSG:
        case IORING_OP_SENDMSG:
            return copy_message(request);
        case IORING_OP_CONNECT:
            return sqe.off > sizeof(sockaddr_storage)
                       ? -EINVAL
                       : copy_address(request.text(), sqe.addr, static_cast<std::size_t>(sqe.off));
        case IORING_OP_SEND: {
            if (sqe.addr2 == 0 && !request.has(IOSQE_BUFFER_SELECT)) return 0;
            Message& message = request.text();
            message.header = {};
            message.parts.assign(
                1, {reinterpret_cast<void*>(static_cast<std::uintptr_t>(sqe.addr)), sqe.len});
            message.first = 0;
            message.advance(0);
            return sqe.addr2 == 0 ? 0 : copy_address(message, sqe.addr2, sqe.addr_len);
        }
        default:
            return 0;
    }
}

Outcome Engine::attempt(Request& request) {
    switch (request.sqe.opcode) {
        case IORING_OP_NOP: {
            const unsigned flags = request.sqe.nop_flags;
            if ((flags & ~IORING_NOP_INJECT_RESULT) != 0) return fail(request, -EINVAL);
            return finish(request, flags == 0 ? 0 : static_cast<std::int32_t>(request.sqe.len));
        }
        case IORING_OP_RECV:
            return receive(request);
        case IORING_OP_RECVMSG:
            return request.wants(IORING_RECV_MULTISHOT) ? receive_messages(request)
                                                        : receive_message(request);
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
            return send(request);
        case IORING_OP_ACCEPT:
            return accept(request);
        case IORING_OP_CONNECT:
            return connect(request);
        case IORING_OP_SHUTDOWN:
            return shut_down(request);
        case IORING_OP_READ:
        case IORING_OP_WRITE:
            return read_or_write(request);
        case IORING_OP_OPENAT:
        case IORING_OP_STATX:
        case IORING_OP_FSYNC:
            return file_call(request);
        case IORING_OP_CLOSE:
            return close(request);
        case IORING_OP_POLL_ADD:
            return poll(request);
        case IORING_OP_FUTEX_WAIT:
            return futex_wait(request);
        case IORING_OP_FUTEX_WAKE:
            return futex_wake(request);
        case IORING_OP_ASYNC_CANCEL:
            return cancel(request);
        default:
            return fail(request, -EOPNOTSUPP);
    }
}

Outcome Engine::end(Request& request, std::int32_t result, std::uint32_t flags) {
    progress_ = true;
    if (!request.has(IOSQE_CQE_SKIP_SUCCESS)) queues.post(request.sqe.user_data, result, flags);
    return Outcome::ended;
}

Outcome Engine::fail(Request& request, std::int32_t result, std::uint32_t flags) {
    progress_ = true;
    queues.post(request.sqe.user_data, result, flags);
    return Outcome::ended;
}

Outcome Engine::finish(Request& request, std::int32_t result) {
    return result < 0 ? fail(request, result) : end(request, result);
}

void Engine::more(Request& request, std::int32_t result, std::uint32_t flags) {
    progress_ = true;
    queues.post(request.sqe.user_data, result, flags | IORING_CQE_F_MORE);
}

Outcome Engine::wait(Request& request, std::uint32_t events) noexcept {
    request.events = events;
    return Outcome::waits;
}

}  // namespace ringfort::uring::soft
