module;
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// Reading and writing by descriptor, and the calls on files that are carried out at once.
namespace ringfort::uring::soft {

namespace {

/// Reads or writes without waiting for readiness, at `offset` or, with -1, at the position.
ssize_t move(const io_uring_sqe& sqe, const iovec& memory, off_t offset, int flags) noexcept {
    ssize_t count = 0;
    do {
        count = sqe.opcode == IORING_OP_READ ? ::preadv2(sqe.fd, &memory, 1, offset, flags)
                                             : ::pwritev2(sqe.fd, &memory, 1, offset, flags);
    } while (count < 0 && errno == EINTR);
    return count;
}

/// Reads or writes a file that knows no RWF_NOWAIT, if it is ready; fails with EAGAIN otherwise.
ssize_t move_if_ready(const io_uring_sqe& sqe, const iovec& memory, off_t offset) noexcept {
    pollfd poll{sqe.fd, static_cast<short>(sqe.opcode == IORING_OP_READ ? POLLIN : POLLOUT), 0};
    if (::poll(&poll, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return move(sqe, memory, offset, static_cast<int>(sqe.rw_flags));
}

}  // namespace

Outcome Engine::read_or_write(Request& request) {
    io_uring_sqe& sqe = request.sqe;
    const bool reads = sqe.opcode == IORING_OP_READ;
    const std::uint32_t events = reads ? POLLIN : POLLOUT;
    if (!request.woken) {
        struct stat status{};
        if (::fstat(sqe.fd, &status) != 0) return fail(request, -errno);
        if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISDIR(status.st_mode)) {
            request.in_progress = true;  // that is: at once, whole
        } else if (!S_ISCHR(status.st_mode)) {
            sqe.off = ~std::uint64_t{0};  // a stream has no offsets, and does not mind them
        }
    }
    parts_.clear();
    if (request.has(IOSQE_BUFFER_SELECT)) {
        (void)buffers.peek(sqe.buf_group, sqe.len, 1, parts_);
        if (parts_.empty()) return fail(request, -ENOBUFS);
    } else {
        parts_.push_back({reinterpret_cast<void*>(static_cast<std::uintptr_t>(sqe.addr)), sqe.len});
    }
    if (request.in_progress) return move_whole(request);

    const iovec memory = parts_[0];
    const auto offset = static_cast<off_t>(sqe.off);
    ssize_t count = move(sqe, memory, offset, static_cast<int>(sqe.rw_flags) | RWF_NOWAIT);
    if (count < 0 && errno == EOPNOTSUPP) count = move_if_ready(sqe, memory, offset);
    if (count < 0 && errno == EAGAIN && (sqe.rw_flags & RWF_NOWAIT) == 0)
        return wait(request, events);
    return moved(request, count < 0 ? -errno : count);
}

Outcome Engine::move_whole(Request& request) {
    io_uring_sqe& sqe = request.sqe;
    iovec memory = parts_[0];
    const bool positioned = sqe.off != ~std::uint64_t{0};
    std::int64_t done = 0;
    while (true) {
        const auto offset = positioned ? static_cast<off_t>(sqe.off) + done : off_t{-1};
        const ssize_t count = move(sqe, memory, offset, static_cast<int>(sqe.rw_flags));
        if (count < 0) return moved(request, done > 0 ? done : -errno);
        done += count;
        memory.iov_base = static_cast<std::byte*>(memory.iov_base) + count;
        memory.iov_len -= static_cast<std::size_t>(count);
        if (count == 0 || memory.iov_len == 0) return moved(request, done);
    }
}

Outcome Engine::moved(Request& request, std::int64_t result) {
    if (result < 0) return fail(request, static_cast<std::int32_t>(result));
    std::uint32_t flags = 0;
    if (request.has(IOSQE_BUFFER_SELECT))
        flags = buffers.commit(request.sqe.buf_group, static_cast<std::size_t>(result), 1);
    return end(request, static_cast<std::int32_t>(result), flags);
}

Outcome Engine::file_call(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    const auto* path = reinterpret_cast<const char*>(static_cast<std::uintptr_t>(sqe.addr));
    int result = 0;
    switch (sqe.opcode) {
        case IORING_OP_OPENAT:
            result =
                ::openat(sqe.fd, path, static_cast<int>(sqe.open_flags) | O_LARGEFILE, sqe.len);
            break;
        case IORING_OP_STATX:
            result = ::statx(sqe.fd, path, static_cast<int>(sqe.statx_flags), sqe.len,
                             reinterpret_cast<struct statx*>(static_cast<std::uintptr_t>(sqe.off)));
            break;
        default:
            result = (sqe.fsync_flags & IORING_FSYNC_DATASYNC) != 0 ? ::fdatasync(sqe.fd)
                                                                    : ::fsync(sqe.fd);
            break;
    }
    if (result < 0) return fail(request, -errno);
    if (sqe.opcode == IORING_OP_OPENAT) readiness.renewed(result);
    return end(request, result);
}

Outcome Engine::close(Request& request) {
    const RawFd fd = request.sqe.fd;
    if (readiness.is_own(fd)) return fail(request, -EBADF);
    readiness.forget(fd);
    return finish(request, ::close(fd) == 0 ? 0 : -errno);
}

}  // namespace ringfort::uring::soft
