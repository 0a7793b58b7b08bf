module;
#include <fcntl.h>
#include <liburing.h>

#include <cerrno>
#include <cstdint>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

// Cancelling, after Linux's io_uring/cancel.c.
namespace ringfort::uring::soft {

namespace {

bool matches(const Request& request, const io_uring_sqe& cancel) noexcept {
    const unsigned flags = cancel.cancel_flags;
    if ((flags & IORING_ASYNC_CANCEL_ANY) != 0) return true;
    if ((flags & IORING_ASYNC_CANCEL_FD) != 0 &&
        (request.place != Place::watched || request.sqe.fd != cancel.fd))
        return false;
    if ((flags & IORING_ASYNC_CANCEL_OP) != 0 && request.sqe.opcode != cancel.len) return false;
    const bool by_data = (flags & IORING_ASYNC_CANCEL_USERDATA) != 0 ||
                         (flags & (IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_OP)) == 0;
    return !by_data || request.sqe.user_data == cancel.addr;
}

bool moves_bytes(const Request& request) noexcept {
    switch (request.sqe.opcode) {
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG:
            return true;
        default:
            return false;
    }
}

}  // namespace

void Engine::collect_matches(const io_uring_sqe& sqe, std::vector<Request*>& found) {
    const unsigned flags = sqe.cancel_flags;
    const bool all = (flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)) != 0;
    const auto look_at = [&](Request& request) {
        if (matches(request, sqe)) found.push_back(&request);
        return all || found.empty();
    };
    if ((flags & IORING_ASYNC_CANCEL_FD) != 0) {
        const Watch* watch = readiness.find(sqe.fd);
        Request* waiter = watch != nullptr ? watch->waiters.front() : nullptr;
        while (waiter != nullptr && look_at(*waiter)) waiter = waiter->next;
        return;
    }
    if ((flags & (IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_OP)) == 0) {
        Request* waiter = requests_.bucket(sqe.addr);
        while (waiter != nullptr && look_at(*waiter)) waiter = waiter->same_bucket;
        return;
    }
    for (Request* waiter : requests_.buckets())
        for (; waiter != nullptr; waiter = waiter->same_bucket)
            if (!look_at(*waiter)) return;
}

Outcome Engine::cancel(Request& request) {
    const io_uring_sqe& sqe = request.sqe;
    const unsigned flags = sqe.cancel_flags;
    if ((flags & IORING_ASYNC_CANCEL_FD) != 0 &&
        ((flags & IORING_ASYNC_CANCEL_FD_FIXED) != 0 || ::fcntl(sqe.fd, F_GETFD) < 0))
        return fail(request, -EBADF);
    std::vector<Request*> found;
    collect_matches(sqe, found);
    const bool all = (flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)) != 0;
    int result = all ? static_cast<int>(found.size()) : -ENOENT;
    // The kernel counts a futex where it says 0 for all others.
    if (!all && !found.empty()) result = found.front()->place == Place::futex ? 1 : 0;
    const Outcome outcome = finish(request, result);
    for (Request* waiter : found) cancel_waiting(*waiter);
    return outcome;
}

void Engine::cancel_waiting(Request& request) {
    // What was moved already is told, as the only account of it.
    const bool partial = request.done > 0 && moves_bytes(request);
    fail(request, partial ? static_cast<std::int32_t>(request.done) : -ECANCELED,
         request.buffer_flags);
    discard(request);
}

}  // namespace ringfort::uring::soft
