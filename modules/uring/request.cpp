module;
#include <liburing.h>
#include <linux/futex.h>

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

}  // namespace

unsigned bounded(std::size_t length) noexcept {
    return static_cast<unsigned>(std::min<std::size_t>(length, limits::max_request.count));
}

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

}  // namespace ringfort::uring
