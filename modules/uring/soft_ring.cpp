module;
#include <liburing.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>
module ringfort.uring;

import ringfort.base;
import :soft_ring;
import :soft_ring_engine;

namespace ringfort::uring {

SoftRing::SoftRing(std::unique_ptr<soft::Engine> engine) noexcept : engine_{std::move(engine)} {}
SoftRing::~SoftRing() = default;

Result<std::unique_ptr<SoftRing>> SoftRing::open(unsigned submissions, unsigned completions) {
    if (submissions == 0 || completions == 0) return Error{"soft ring", EINVAL};
    auto engine = std::make_unique<soft::Engine>(
        std::bit_ceil(std::min(submissions, limits::max_ring_submissions)),
        std::bit_ceil(std::min(completions, limits::max_ring_completions)));
    if (auto opened = engine->readiness.open(); !opened) return opened.error();
    return std::unique_ptr<SoftRing>{new SoftRing{std::move(engine)}};
}

void SoftRing::attach(io_uring& ring) noexcept {
    engine_->queues.attach(ring);
}

int SoftRing::enter(unsigned wait_for, const __kernel_timespec* limit) noexcept {
    return engine_->enter(wait_for, limit);
}

int SoftRing::register_buffers(std::uint16_t group, io_uring_buf_ring& ring, unsigned entries,
                               BufferUse use) noexcept {
    return engine_->buffers.add(group, ring, entries, use);
}

int SoftRing::unregister_buffers(std::uint16_t group) noexcept {
    return engine_->buffers.remove(group);
}

void SoftRing::forget(RawFd fd) noexcept {
    engine_->readiness.forget(fd);
}

bool SoftRing::supports(std::uint8_t opcode) noexcept {
    switch (opcode) {
        case IORING_OP_NOP:
        case IORING_OP_FSYNC:
        case IORING_OP_POLL_ADD:
        case IORING_OP_SENDMSG:
        case IORING_OP_RECVMSG:
        case IORING_OP_ACCEPT:
        case IORING_OP_ASYNC_CANCEL:
        case IORING_OP_CONNECT:
        case IORING_OP_OPENAT:
        case IORING_OP_CLOSE:
        case IORING_OP_STATX:
        case IORING_OP_READ:
        case IORING_OP_WRITE:
        case IORING_OP_SEND:
        case IORING_OP_RECV:
        case IORING_OP_SHUTDOWN:
        case IORING_OP_FUTEX_WAIT:
        case IORING_OP_FUTEX_WAKE:
            return true;
        default:
            return false;
    }
}

const SoftRingStatistics& SoftRing::statistics() const noexcept {
    return engine_->readiness.statistics;
}

}  // namespace ringfort::uring
