module;
#include <liburing.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// Futexes, after Linux's io_uring/futex.c, whose submissions hold: the word's address in addr, the
// value or the number to wake in addr2, the bit mask in addr3, the futex2 flags in fd.
namespace ringfort::uring::soft {

namespace {

// Of linux/futex.h since 6.7.
constexpr std::uint32_t size_mask = 0x03;
constexpr std::uint32_t size_u32 = 0x02;
constexpr std::uint32_t numa = 0x04;
constexpr std::uint32_t is_private = FUTEX_PRIVATE_FLAG;

std::uint32_t* word(const io_uring_sqe& sqe) noexcept {
    return reinterpret_cast<std::uint32_t*>(static_cast<std::uintptr_t>(sqe.addr));
}

bool differs(const io_uring_sqe& sqe) noexcept {
    return std::atomic_ref<std::uint32_t>{*word(sqe)}.load() !=
           static_cast<std::uint32_t>(sqe.addr2);
}

/// 0, or why the kernel would refuse the submission.
int check_futex(const io_uring_sqe& sqe) noexcept {
    const auto flags = static_cast<std::uint32_t>(sqe.fd);
    if ((flags & ~(size_mask | numa | is_private)) != 0) return -EINVAL;
    if ((flags & size_mask) != size_u32 || (flags & numa) != 0) return -EINVAL;
    if (sqe.addr2 > UINT32_MAX || sqe.addr3 > UINT32_MAX || sqe.addr3 == 0) return -EINVAL;
    if (sqe.addr % sizeof(std::uint32_t) != 0) return -EINVAL;
    return sqe.addr == 0 ? -EFAULT : 0;
}

}  // namespace

Outcome Engine::futex_wait(Request& request) {
    if (const int failed = check_futex(request.sqe); failed != 0) return fail(request, failed);
    return differs(request.sqe) ? fail(request, -EAGAIN) : Outcome::waits;
}

Outcome Engine::futex_wake(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    if (const int failed = check_futex(sqe); failed != 0) return fail(request, failed);
    const auto wanted = static_cast<std::int32_t>(std::min<std::uint64_t>(sqe.addr2, INT_MAX));
    std::int32_t woken = 0;
    for (Request *waiter = futexes_.front(), *next = nullptr; waiter != nullptr && woken < wanted;
         waiter = next) {
        next = waiter->next;
        if (waiter->sqe.addr != sqe.addr || (waiter->sqe.addr3 & sqe.addr3) == 0) continue;
        (void)end(*waiter, 0);
        discard(*waiter);
        ++woken;
    }
    if (woken < wanted) {
        const int scope = static_cast<int>(static_cast<std::uint32_t>(sqe.fd) & is_private);
        const long others =
            ::syscall(SYS_futex, word(sqe), FUTEX_WAKE_BITSET | scope, wanted - woken, nullptr,
                      nullptr, static_cast<std::uint32_t>(sqe.addr3));
        if (others < 0 && woken == 0) return fail(request, -errno);
        woken += static_cast<std::int32_t>(std::max(others, 0L));
    }
    return end(request, woken);
}

void Engine::check_futexes() {
    for (Request *waiter = futexes_.front(), *next = nullptr; waiter != nullptr; waiter = next) {
        next = waiter->next;
        if (!differs(waiter->sqe)) continue;
        (void)end(*waiter, 0);
        discard(*waiter);
    }
}

}  // namespace ringfort::uring::soft
