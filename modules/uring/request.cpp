module;
#include <liburing.h>
#include <linux/futex.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {
namespace {

/// The kernel picks the buffer when there is data: a waiting receive holds no memory.
void pick_buffer(io_uring_sqe& sqe, const Request& request) noexcept {
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = static_cast<std::uint16_t>(request.offset);
}

/// Bounds what one request moves: a longer one completes short and goes on from there.
unsigned bounded(std::size_t length) noexcept {
    return static_cast<unsigned>(std::min<std::size_t>(length, limits::max_request.count));
}

/// Fills in the requests of files and of whatever else is asked for rarely.
void prepare_rare(io_uring_sqe& sqe, const Request& request) noexcept {
    void* const address = const_cast<void*>(request.address);
    const auto small = static_cast<unsigned>(request.length);
    const int flags = static_cast<int>(request.flags);
    switch (request.opcode) {
        case Opcode::open:
            ::io_uring_prep_openat(&sqe, request.fd, static_cast<const char*>(address), flags,
                                   small);
            return;
        case Opcode::status:
            ::io_uring_prep_statx(
                &sqe, request.fd, static_cast<const char*>(address), flags, small,
                reinterpret_cast<struct statx*>(static_cast<std::uintptr_t>(request.offset)));
            return;
        case Opcode::sync:
            ::io_uring_prep_fsync(&sqe, request.fd, request.flags);
            return;
        case Opcode::close:
            ::io_uring_prep_close(&sqe, request.fd);
            return;
        case Opcode::accept_many:
            ::io_uring_prep_multishot_accept(&sqe, request.fd, nullptr, nullptr, flags);
            return;
        case Opcode::receive_many:
            ::io_uring_prep_recv_multishot(&sqe, request.fd, nullptr, 0, 0);
            sqe.ioprio = static_cast<std::uint16_t>(sqe.ioprio | request.flags);
            sqe.file_index = small;  // the place of optlen
            pick_buffer(sqe, request);
            return;
        case Opcode::receive_messages:
            ::io_uring_prep_recvmsg_multishot(&sqe, request.fd, static_cast<msghdr*>(address), 0);
            pick_buffer(sqe, request);
            return;
        case Opcode::send_zero_copy:
            ::io_uring_prep_send_zc(&sqe, request.fd, address, bounded(request.length), flags, 0);
            return;
        case Opcode::futex_wait:
            ::io_uring_prep_futex_wait(&sqe, static_cast<std::uint32_t*>(address), request.offset,
                                       FUTEX_BITSET_MATCH_ANY, request.flags, 0);
            return;
        case Opcode::futex_wake:
            ::io_uring_prep_futex_wake(&sqe, static_cast<std::uint32_t*>(address), request.offset,
                                       FUTEX_BITSET_MATCH_ANY, request.flags, 0);
            return;
        default:
            panic("a request was prepared in the wrong place");
    }
}

}  // namespace

Step step_of(Opcode opcode) noexcept {
    switch (opcode) {
        case Opcode::accept:
        case Opcode::accept_waiting:
        case Opcode::accept_many:
            return "accept";
        case Opcode::connect:
            return "connect";
        case Opcode::receive:
        case Opcode::receive_many:
        case Opcode::receive_messages:
            return "receive";
        case Opcode::send:
        case Opcode::send_some:
        case Opcode::send_message:
        case Opcode::send_pieces:
        case Opcode::send_zero_copy:
            return "send";
        case Opcode::poll:
        case Opcode::poll_many:
            return "poll";
        case Opcode::read:
        case Opcode::read_all:
            return "read";
        case Opcode::write:
        case Opcode::write_all:
            return "write";
        case Opcode::open:
            return "open";
        case Opcode::status:
            return "statx";
        case Opcode::sync:
            return "fsync";
        case Opcode::close:
            return "close";
        case Opcode::futex_wait:
            return "futex_wait";
        case Opcode::futex_wake:
            return "futex_wake";
    }
    return "do nothing";
}

void prepare(io_uring_sqe& sqe, const Request& request) noexcept {
    void* const address = const_cast<void*>(request.address);
    const int flags = static_cast<int>(request.flags);
    switch (request.opcode) {
        case Opcode::send:
        case Opcode::send_some:
            ::io_uring_prep_send(&sqe, request.fd, address, bounded(request.length), flags);
            return;
        case Opcode::send_message:
        case Opcode::send_pieces:
            ::io_uring_prep_sendmsg(&sqe, request.fd, static_cast<const msghdr*>(address),
                                    request.flags);
            return;
        case Opcode::accept:
            ::io_uring_prep_accept(&sqe, request.fd, nullptr, nullptr, flags);
            return;
        case Opcode::accept_waiting:
            ::io_uring_prep_accept(&sqe, request.fd, nullptr, nullptr, flags);
            sqe.ioprio |= IORING_ACCEPT_DONTWAIT;
            return;
        case Opcode::connect:
            ::io_uring_prep_connect(&sqe, request.fd, static_cast<const sockaddr*>(address),
                                    static_cast<socklen_t>(request.length));
            return;
        case Opcode::receive:
            ::io_uring_prep_recv(&sqe, request.fd, address, bounded(request.length), flags);
            return;
        case Opcode::poll:
            ::io_uring_prep_poll_add(&sqe, request.fd, request.flags);
            return;
        case Opcode::poll_many:
            ::io_uring_prep_poll_multishot(&sqe, request.fd, request.flags);
            return;
        case Opcode::read:
        case Opcode::read_all:
            ::io_uring_prep_read(&sqe, request.fd, address, bounded(request.length),
                                 request.offset);
            return;
        case Opcode::write:
        case Opcode::write_all:
            ::io_uring_prep_write(&sqe, request.fd, address, bounded(request.length),
                                  request.offset);
            return;
        case Opcode::open:
        case Opcode::status:
        case Opcode::sync:
        case Opcode::close:
        case Opcode::accept_many:
        case Opcode::receive_many:
        case Opcode::receive_messages:
        case Opcode::send_zero_copy:
        case Opcode::futex_wait:
        case Opcode::futex_wake:
            prepare_rare(sqe, request);
            return;
    }
}

}  // namespace ringfort::uring
