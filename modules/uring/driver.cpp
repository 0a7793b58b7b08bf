module;
#include <liburing.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>
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

void prepare(io_uring_sqe& sqe, const Request& request) noexcept {
    void* const address = const_cast<void*>(request.address);
    const int flags = static_cast<int>(request.flags);
    switch (request.opcode) {
        case Opcode::send:
        case Opcode::send_some:
            ::io_uring_prep_send(&sqe, request.fd, address, bounded(request.length), flags);
            return;
        case Opcode::send_message:
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
        case Opcode::read:
            ::io_uring_prep_read(&sqe, request.fd, address, bounded(request.length),
                                 request.offset);
            return;
        case Opcode::write:
            ::io_uring_prep_write(&sqe, request.fd, address, bounded(request.length),
                                  request.offset);
            return;
    }
}

}  // namespace

Step step_of(Opcode opcode) noexcept {
    switch (opcode) {
        case Opcode::accept:
        case Opcode::accept_waiting:
            return "accept";
        case Opcode::connect:
            return "connect";
        case Opcode::receive:
            return "receive";
        case Opcode::send:
        case Opcode::send_some:
        case Opcode::send_message:
            return "send";
        case Opcode::poll:
            return "poll";
        case Opcode::read:
            return "read";
        case Opcode::write:
            return "write";
    }
    return "do nothing";
}

std::vector<std::string_view> consequences(const Features& features) {
    std::vector<std::string_view> lacks;
    if (features.mode == RingMode::deferred)
        lacks.emplace_back("one more memory access per submission than on Linux 6.6 or newer");
    if (features.mode == RingMode::cooperative)
        lacks.emplace_back(
            "completions interrupt system calls: more CPU per request than on Linux 6.1 or newer");
    if (!features.incremental_buffers)
        lacks.emplace_back(
            "every receive takes a whole buffer: more memory under load than on Linux 6.12 or "
            "newer");
    if (!features.bundles)
        lacks.emplace_back("bulk data moves buffer by buffer: slower than on Linux 6.10 or newer");
    if (!features.minimum_wait)
        lacks.emplace_back("a busy loop makes more system calls than on Linux 6.12 or newer");
    return lacks;
}

Driver::Driver() noexcept = default;
Driver::~Driver() = default;

void Driver::Close::operator()(io_uring* ring) const noexcept {
    ::io_uring_queue_exit(ring);
    delete ring;
}

Result<void> Driver::open_ring(std::uint32_t submissions, std::uint32_t completions,
                               RingMode mode) {
    auto ring = std::make_unique<io_uring>();
    io_uring_params params{};
    params.flags =
        IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | mode_flags(mode);
    params.cq_entries = completions;
    const int outcome = ::io_uring_queue_init_params(submissions, ring.get(), &params);
    if (outcome != 0) return Error{"io_uring_setup", -outcome};
    ring_.reset(ring.release());
    features_.mode = mode;
    // Saves the look-up of the ring's descriptor at each enter; nothing is lost without it.
    (void)::io_uring_register_ring_fd(ring_.get());
    if ((params.features & IORING_FEAT_RECVSEND_BUNDLE) == 0) features_.bundles = false;
    if ((params.features & IORING_FEAT_MIN_TIMEOUT) == 0) features_.minimum_wait = false;
    return {};
}

Result<void> Driver::open(std::uint32_t submissions, std::uint32_t completions,
                          const Features& wanted) {
    ensure(!ring_, "a driver was opened twice");
    features_ = wanted;
    for (auto mode = wanted.mode; mode <= RingMode::cooperative;
         mode = static_cast<RingMode>(static_cast<std::uint8_t>(mode) + 1)) {
        const auto opened = open_ring(submissions, completions, mode);
        if (opened || !opened.error().is(std::errc::invalid_argument)) return opened;
    }
    return Error{"io_uring_setup", EINVAL};
}

io_uring_sqe* Driver::room() noexcept {
    io_uring_sqe* sqe = ::io_uring_get_sqe(ring_.get());
    if (sqe != nullptr) [[likely]]
        return sqe;
    flush();
    return ::io_uring_get_sqe(ring_.get());
}

bool Driver::submit(const Request& request, std::uint64_t tag) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) [[unlikely]]
        return false;
    prepare(*sqe, request);
    sqe->user_data = tag;
    return true;
}

bool Driver::submit_receive(RawFd socket, std::uint64_t tag, std::uint16_t group) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) return false;
    // The kernel picks the buffer when there is data: a waiting receive holds no memory.
    ::io_uring_prep_recv_multishot(sqe, socket, nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = group;
    sqe->user_data = tag;
    return true;
}

bool Driver::cancel(std::uint64_t tag) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) return false;
    ::io_uring_prep_cancel64(sqe, tag, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = 0;
    return true;
}

bool Driver::close(RawFd fd) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) return false;
    ::io_uring_prep_close(sqe, fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = 0;
    return true;
}

void Driver::flush() noexcept {
    if (ring_) (void)::io_uring_submit(ring_.get());
}

Result<void> Driver::enter(const Wait& wait) noexcept {
    int outcome = 0;
    if (wait.limit_ns == 0) {
        outcome = ::io_uring_submit_and_get_events(ring_.get());
    } else {
        io_uring_cqe* first = nullptr;
        // liburing 2.9 forgets the minimum wait when there is no limit: then a long one.
        __kernel_timespec limit{.tv_sec = 3'600, .tv_nsec = 0};
        if (wait.limit_ns) {
            limit.tv_sec = *wait.limit_ns / ns_per_s;
            limit.tv_nsec = *wait.limit_ns % ns_per_s;
        }
        __kernel_timespec* const until = wait.limit_ns || wait.batch_us > 0 ? &limit : nullptr;
        outcome = wait.batch_us > 0
                      ? ::io_uring_submit_and_wait_min_timeout(
                            ring_.get(), &first, wait.completions, until, wait.batch_us, nullptr)
                      : ::io_uring_submit_and_wait_timeout(ring_.get(), &first, wait.completions,
                                                           until, nullptr);
    }
    if (outcome >= 0 || outcome == -ETIME || outcome == -EINTR || outcome == -EAGAIN ||
        outcome == -EBUSY)
        return {};
    return Error{"io_uring_enter", -outcome};
}

}  // namespace ringfort::uring
