module;
#include <liburing.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {
namespace {

constexpr std::int64_t ns_per_s = 1'000'000'000;

/// The most one request moves: a longer one completes short and goes on from there.
unsigned bounded(std::size_t length) noexcept {
    constexpr std::size_t most = 1U << 30;
    return static_cast<unsigned>(std::min(length, most));
}

unsigned mode_flags(RingMode mode) noexcept {
    switch (mode) {
        case RingMode::deferred_no_array:
            return IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_NO_SQARRAY;
        case RingMode::deferred:
            return IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
        case RingMode::cooperative:
            return IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    }
    return 0;
}

void prepare(io_uring_sqe& sqe, const Request& request, std::uint16_t buffer_group) noexcept {
    switch (request.opcode) {
        case Opcode::accept:
            ::io_uring_prep_accept(&sqe, request.fd, nullptr, nullptr,
                                   static_cast<int>(request.flags));
            return;
        case Opcode::accept_waiting:
            ::io_uring_prep_accept(&sqe, request.fd, nullptr, nullptr,
                                   static_cast<int>(request.flags));
            sqe.ioprio |= IORING_ACCEPT_DONTWAIT;
            return;
        case Opcode::connect:
            ::io_uring_prep_connect(&sqe, request.fd, static_cast<const sockaddr*>(request.address),
                                    static_cast<socklen_t>(request.length));
            return;
        case Opcode::receive:
            // The kernel picks the buffer when there is data: a waiting receive holds no memory.
            ::io_uring_prep_recv(&sqe, request.fd, nullptr, 0, 0);
            sqe.flags |= IOSQE_BUFFER_SELECT;
            sqe.buf_group = buffer_group;
            return;
        case Opcode::send:
            ::io_uring_prep_send(&sqe, request.fd, request.address, bounded(request.length),
                                 MSG_NOSIGNAL | MSG_WAITALL);
            return;
        case Opcode::poll:
            ::io_uring_prep_poll_add(&sqe, request.fd, request.flags);
            return;
        case Opcode::read:
            ::io_uring_prep_read(&sqe, request.fd, const_cast<void*>(request.address),
                                 bounded(request.length), static_cast<__u64>(-1));
            return;
    }
}

}  // namespace

std::string_view consequence(RingMode mode) noexcept {
    switch (mode) {
        case RingMode::deferred_no_array:
            return "nothing is missing";
        case RingMode::deferred:
            return "one more memory access per submission than on Linux 6.6 or newer";
        case RingMode::cooperative:
            return "completions interrupt system calls: more CPU per request than on Linux 6.1 or "
                   "newer";
    }
    return "";
}

Driver::~Driver() {
    if (open_) ::io_uring_queue_exit(&ring_);
}

Result<void> Driver::open(std::uint32_t submissions, std::uint32_t completions, RingMode best) {
    ensure(!open_, "a driver was opened twice");
    for (auto mode = best; mode <= RingMode::cooperative;
         mode = static_cast<RingMode>(static_cast<std::uint8_t>(mode) + 1)) {
        io_uring_params params{};
        params.flags =
            IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | mode_flags(mode);
        params.cq_entries = completions;
        const int outcome = ::io_uring_queue_init_params(submissions, &ring_, &params);
        if (outcome == 0) {
            open_ = true;
            mode_ = mode;
            // Saves the look-up of the ring's descriptor at each enter; nothing is lost without it.
            (void)::io_uring_register_ring_fd(&ring_);
            return {};
        }
        if (outcome != -EINVAL) return Error{"io_uring_setup", -outcome};
    }
    return Error{"io_uring_setup", EINVAL};
}

io_uring_sqe* Driver::room() noexcept {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe != nullptr) return sqe;
    (void)::io_uring_submit(&ring_);
    return ::io_uring_get_sqe(&ring_);
}

bool Driver::submit(const Request& request, std::uint64_t tag,
                    std::uint16_t buffer_group) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) return false;
    prepare(*sqe, request, buffer_group);
    sqe->user_data = tag;
    return true;
}

bool Driver::cancel(std::uint64_t tag) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) return false;
    ::io_uring_prep_cancel64(sqe, tag, 0);
    sqe->user_data = 0;
    return true;
}

Result<void> Driver::enter(std::optional<std::int64_t> wait_ns) noexcept {
    int outcome = 0;
    if (wait_ns == 0) {
        outcome = ::io_uring_submit_and_get_events(&ring_);
    } else {
        io_uring_cqe* first = nullptr;
        __kernel_timespec limit{};
        if (wait_ns) {
            limit.tv_sec = *wait_ns / ns_per_s;
            limit.tv_nsec = *wait_ns % ns_per_s;
        }
        outcome = ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, wait_ns ? &limit : nullptr,
                                                     nullptr);
    }
    if (outcome >= 0 || outcome == -ETIME || outcome == -EINTR || outcome == -EAGAIN ||
        outcome == -EBUSY)
        return {};
    return Error{"io_uring_enter", -outcome};
}

std::size_t Driver::reap(std::span<Completion> out) noexcept {
    std::size_t count = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
        if (count == out.size()) break;
        out[count++] = {cqe->user_data, cqe->res, cqe->flags};
    }
    ::io_uring_cq_advance(&ring_, static_cast<unsigned>(count));
    return count;
}

}  // namespace ringfort::uring
