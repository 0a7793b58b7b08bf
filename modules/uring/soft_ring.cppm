module;
#include <liburing.h>
export module ringfort.uring:soft_ring;

import ringfort.base;
import ringfort.std;

namespace ringfort::uring::soft {
class Engine;
}

export namespace ringfort::uring {

/// How a provided buffer is used up: by one completion, or by as many as fit into it
/// (IOU_PBUF_RING_INC).
enum class BufferUse : std::uint8_t { whole, incremental };

/// Counts what a SoftRing asked of the kernel beside the requests themselves.
struct SoftRingStatistics {
    std::uint64_t enters = 0;
    std::uint64_t waits = 0;          ///< epoll_pwait2(2)
    std::uint64_t registrations = 0;  ///< epoll_ctl(2)
    std::uint64_t rebuilds = 0;       ///< of the epoll instance, see `forget`
};

/// Carries out io_uring submissions by ordinary system calls and epoll, for kernels and containers
/// that refuse io_uring. Its seam is the kernel's own: a program fills submissions and reads
/// completions with liburing's inline functions and calls `enter` where it would have called
/// io_uring_enter(2); results, flags and their order are those of Linux 6.18.
///
/// Where it differs, because a process has no more than system calls:
/// - Regular files, directories and devices that cannot be polled are read, written, opened, synced
///   and stat'ed at once: `enter` blocks as long as the file system does.
/// - A listener is set to O_NONBLOCK by the first accept and stays so, for all who share it.
///   Connecting sets it for the call. All other descriptors may be in blocking mode and stay so;
///   those that know neither MSG_DONTWAIT nor RWF_NOWAIT are polled before they are read.
/// - A request does not keep its file alive. Cancel what is pending before closing, as with the
///   kernel; what is left waits until it is cancelled. Tell `forget` before closing a descriptor by
///   other means than IORING_OP_CLOSE; a registration that outlived its descriptor untold is found
///   within `limits::soft_ring_trust_ms`.
/// - A futex wait sees the word change within `limits::soft_ring_nap_ms` or is woken by a
///   FUTEX_WAKE of the same ring; a wake-up by others that leaves the word as it was is missed, and
///   they do not count this waiter.
/// - Receives on one descriptor end in the order of their submission, sends likewise.
/// - Multishot receives leave bytes in the socket rather than overflow the completion queue, and
///   IORING_CQE_F_SOCK_NONEMPTY is never set. A multishot poll reports all that holds, not only
///   what changed.
/// - Addresses in a submission are trusted where the kernel would answer EFAULT.
///
/// One thread; never across a fork. Linked, drained and fixed-file requests end with EINVAL or
/// EBADF, opcodes that `supports` denies with EOPNOTSUPP. Sources: io_uring_enter(2), epoll(7),
/// Linux's io_uring/net.c, kbuf.c, poll.c and cancel.c.
class SoftRing {
public:
    /// Makes the queues, rounded up to powers of two and down to the kernel's bounds, and the epoll
    /// instance. Errors: EINVAL for zero entries; EMFILE, ENFILE, ENOMEM.
    [[nodiscard]] static Result<std::unique_ptr<SoftRing>> open(unsigned submissions,
                                                                unsigned completions);
    SoftRing(SoftRing&&) = delete;
    /// Drops what is pending without completing it.
    ~SoftRing();

    /// Points `ring` to the queues, so that io_uring_get_sqe, io_uring_for_each_cqe,
    /// io_uring_cq_advance and the buffer ring functions work on them. No liburing function that
    /// makes a system call may be used on it. It must stay where it is as long as this lives.
    void attach(io_uring& ring) noexcept;

    /// Carries out what was submitted and what has become possible, and waits until `wait_for`
    /// completions are in the queue or `limit` has passed: for ever when null, not at all when
    /// zero. Blocks in epoll_pwait2(2), and in file I/O as said above. Returns 0, or -ETIME when
    /// there are fewer, -EINTR when a signal came.
    [[nodiscard]] int enter(unsigned wait_for, const __kernel_timespec* limit) noexcept;

    /// Registers a ring of provided buffers, which must outlive its registration. Bounds: `entries`
    /// is a power of two up to 32768. Returns 0, -EINVAL, or -EEXIST when the group has one.
    [[nodiscard]] int register_buffers(std::uint16_t group, io_uring_buf_ring& ring,
                                       unsigned entries, BufferUse use) noexcept;
    /// Forgets a group's ring. Returns 0 or -ENOENT.
    int unregister_buffers(std::uint16_t group) noexcept;

    /// Ends what is kept about a descriptor; call it before the number is closed or its file is
    /// left to another process. Requests that are pending on it wait until they are cancelled.
    void forget(RawFd fd) noexcept;

    /// Reports whether submissions with this opcode are carried out.
    [[nodiscard]] static bool supports(std::uint8_t opcode) noexcept;
    [[nodiscard]] const SoftRingStatistics& statistics() const noexcept;

private:
    explicit SoftRing(std::unique_ptr<soft::Engine> engine) noexcept;

    std::unique_ptr<soft::Engine> engine_;
};

}  // namespace ringfort::uring
