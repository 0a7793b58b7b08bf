module;
#include <liburing.h>
#include <ringfort/try.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {
namespace {

constexpr std::int64_t ns_per_s = 1'000'000'000;
/// In the place of no limit, where the call needs one: the kernel adds it to its clock. A turn for
/// nothing follows.
constexpr std::chrono::hours endless{1};

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

/// Asks the kernel whether it has an operation.
bool knows(io_uring& ring, int opcode) noexcept {
    const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe{
        ::io_uring_get_probe_ring(&ring), ::io_uring_free_probe};
    return probe && ::io_uring_opcode_supported(probe.get(), opcode) != 0;
}

/// Tries whether buffers can be provided at all: a filter may refuse io_uring_register(2) alone.
Result<void> try_buffers(io_uring& ring) noexcept {
    constexpr int group = std::numeric_limits<std::uint16_t>::max();
    int outcome = 0;
    io_uring_buf_ring* const buffers = ::io_uring_setup_buf_ring(&ring, 1, group, 0, &outcome);
    if (buffers == nullptr) return Error{"io_uring_setup_buf_ring", -outcome};
    (void)::io_uring_free_buf_ring(&ring, buffers, 1, group);
    return {};
}

/// Asks the kernel whether it takes a request as `prepare` has it, of the descriptor -1: one that
/// does looks at that next, which is none.
template <class Prepare>
bool takes(io_uring& ring, Prepare prepare) noexcept {
    io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring);
    if (sqe == nullptr) return false;
    prepare(sqe);
    io_uring_cqe* cqe = nullptr;
    if (::io_uring_submit_and_wait(&ring, 1) < 0 || ::io_uring_peek_cqe(&ring, &cqe) != 0)
        return false;
    const bool taken = cqe->res == -EBADF;
    ::io_uring_cqe_seen(&ring, cqe);
    return taken;
}

/// A multishot receive with a bound of its bytes (IORING_RECV_MSHOT_LIM).
bool bounds_receives(io_uring& ring) noexcept {
    return takes(ring, [](io_uring_sqe* sqe) {
        ::io_uring_prep_recv_multishot(sqe, -1, nullptr, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->file_index = 1;  // the place of optlen
    });
}

/// An accept that does not wait (IORING_ACCEPT_DONTWAIT).
bool accepts_instantly(io_uring& ring) noexcept {
    return takes(ring, [](io_uring_sqe* sqe) {
        ::io_uring_prep_accept(sqe, -1, nullptr, nullptr, 0);
        sqe->ioprio |= IORING_ACCEPT_DONTWAIT;
    });
}

__kernel_timespec timespec_of(Instant::duration duration) noexcept {
    const std::int64_t ns = std::chrono::nanoseconds{duration}.count();
    return {.tv_sec = ns / ns_per_s, .tv_nsec = ns % ns_per_s};
}

/// Tells whether this process's monotonic clock is the machine's own. In a time namespace it may
/// not be, and a kernel up to 7.0 takes the moment of a timeout request for one of the machine's.
/// Source: time_namespaces(7).
bool has_the_machines_clock() {
    std::ifstream offsets{"/proc/self/timens_offsets"};
    std::string clock;
    for (std::int64_t s = 0, ns = 0; offsets >> clock >> s >> ns;)
        if (clock == "monotonic") return s == 0 && ns == 0;
    return true;  // a kernel without time namespaces
}

/// What the environment variable RINGFORT_DRIVER asks for; any other word is as if it were unset.
Backend backend_of_environment() noexcept {
    const char* const value = std::getenv("RINGFORT_DRIVER");
    const std::string_view name = value == nullptr ? "" : value;
    if (name == "epoll") return Backend::epoll;
    if (name == "io_uring") return Backend::io_uring;
    return Backend::automatic;
}

/// Whether there is no io_uring for this process, rather than no room for one.
bool is_refusal(const Error& error) noexcept {
    return error.is(std::errc::operation_not_permitted) || error.is(std::errc::permission_denied) ||
           error.is(std::errc::function_not_supported) || error.is(std::errc::invalid_argument);
}

}  // namespace

Driver::Driver() noexcept = default;
Driver::~Driver() = default;

void Driver::Close::operator()(io_uring* ring) const noexcept {
    if (ring->ring_fd >= 0) ::io_uring_queue_exit(ring);  // a SoftRing has none
    delete ring;
}

Result<void> Driver::open_ring(std::uint32_t submissions, std::uint32_t completions,
                               RingMode mode) {
    auto ring = std::make_unique<io_uring>();
    io_uring_params params{};
    params.flags =
        IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | mode_flags(mode);
    // A ring is restricted before it is enabled, and only if it was made disabled.
    if (permits_) params.flags |= IORING_SETUP_R_DISABLED;
    params.cq_entries = completions;
    const int outcome = ::io_uring_queue_init_params(submissions, ring.get(), &params);
    if (outcome != 0) return Error{"io_uring_setup", -outcome};
    ring_.reset(ring.release());
    features_.mode = mode;
    RF_TRY(try_buffers(*ring_));
    if (features_.registered_ring)
        features_.registered_ring = ::io_uring_register_ring_fd(ring_.get()) == 1;
    return learn_features();
}

/// Finds out what the ring can do. It is enabled here if it was made disabled: what is registered
/// comes before that, what is submitted after it.
Result<void> Driver::learn_features() {
    if (!knows(*ring_, IORING_OP_FUTEX_WAIT)) features_.futex = false;
    if (!knows(*ring_, IORING_OP_SEND_ZC)) features_.zero_copy = false;
    if (permits_) RF_TRY(restrict_and_enable(*ring_, *permits_));
    if ((ring_->features & IORING_FEAT_MIN_TIMEOUT) == 0) features_.minimum_waits = false;
    features_.bounded_receives = features_.bounded_receives && bounds_receives(*ring_);
    features_.instant_accepts = features_.instant_accepts && accepts_instantly(*ring_);
    has_alarm_ = has_the_machines_clock();
    if (!has_alarm_) alarm_due_ = Instant::min();  // as if it had passed: never used
    return {};
}

Result<void> Driver::open_ring(std::uint32_t submissions, std::uint32_t completions,
                               const Features& wanted) {
    for (auto mode = wanted.mode; mode <= RingMode::cooperative;
         mode = static_cast<RingMode>(static_cast<std::uint8_t>(mode) + 1)) {
        const auto opened = open_ring(submissions, completions, mode);
        if (opened || !opened.error().is(std::errc::invalid_argument)) return opened;
    }
    return Error{"io_uring_setup", EINVAL};
}

Result<void> Driver::open_soft(std::uint32_t submissions, std::uint32_t completions) {
    RF_LET(soft_, SoftRing::open(submissions, completions));
    ring_.reset(new io_uring{});
    soft_->attach(*ring_);
    features_.zero_copy = false;
    return {};
}

Result<void> Driver::open(std::uint32_t submissions, std::uint32_t completions,
                          const Features& wanted, Backend backend, std::optional<Permits> permits) {
    ensure(!ring_, "a driver was opened twice");
    const Features features = common(wanted, features_of_environment());
    features_ = features;
    permits_ = permits;
    if (backend == Backend::automatic) backend = backend_of_environment();
    if (backend == Backend::epoll) return open_soft(submissions, completions);
    const auto opened = open_ring(submissions, completions, features);
    if (opened || backend == Backend::io_uring || !is_refusal(opened.error())) return opened;
    refusal_ = opened.error();
    features_ = features;
    return open_soft(submissions, completions);
}

Result<io_uring_buf_ring*> Driver::add_buffers(std::uint32_t entries, std::uint16_t group,
                                               bool& shared) noexcept {
    if (soft_) {
        void* memory = ::mmap(nullptr, entries * sizeof(io_uring_buf), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return Error::last("mmap a buffer ring");
        auto* const ring = static_cast<io_uring_buf_ring*>(memory);
        const int outcome = soft_->register_buffers(
            group, *ring, entries, shared ? BufferUse::incremental : BufferUse::whole);
        if (outcome == 0) return ring;
        ::munmap(memory, entries * sizeof(io_uring_buf));
        return Error{"register a buffer ring", -outcome};
    }
    int outcome = 0;
    io_uring_buf_ring* ring = nullptr;
    if (shared)
        ring = ::io_uring_setup_buf_ring(ring_.get(), entries, group, IOU_PBUF_RING_INC, &outcome);
    if (shared && outcome == -EINVAL) {
        shared = false;
        features_.incremental_buffers = false;
    }
    if (!shared) ring = ::io_uring_setup_buf_ring(ring_.get(), entries, group, 0, &outcome);
    if (ring == nullptr) return Error{"io_uring_setup_buf_ring", -outcome};
    return ring;
}

void Driver::remove_buffers(io_uring_buf_ring& ring, std::uint32_t entries,
                            std::uint16_t group) noexcept {
    if (soft_) {
        (void)soft_->unregister_buffers(group);
        ::munmap(&ring, entries * sizeof(io_uring_buf));
    } else {
        (void)::io_uring_free_buf_ring(ring_.get(), &ring, entries, group);
    }
}

void Driver::forget(RawFd fd) noexcept {
    if (soft_) soft_->forget(fd);
}

io_uring_sqe* Driver::room() noexcept {
    io_uring_sqe* sqe = ::io_uring_get_sqe(ring_.get());
    if (sqe != nullptr) [[likely]]
        return sqe;
    return make_room();
}

[[clang::preserve_most, gnu::noinline]] io_uring_sqe* Driver::make_room() noexcept {
    flush();
    return ::io_uring_get_sqe(ring_.get());
}

bool Driver::submit(const Request& request, std::uint64_t tag) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) [[unlikely]]
        return false;
    prepare(*sqe, request);
    if (request.quiet) sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = tag;
    return true;
}

const std::uint32_t Driver::at_once = MSG_DONTWAIT | MSG_WAITALL;

bool Driver::send_at_once(RawFd socket, std::span<const std::byte> bytes, std::uint64_t tag,
                          Answered answered) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) [[unlikely]]
        return false;
    ::io_uring_prep_send(sqe, socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | at_once);
    if (answered == Answered::unless_all_goes) sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = tag;
    return true;
}

bool Driver::cancel(std::uint64_t tag) noexcept {
    io_uring_sqe* sqe = room();
    if (sqe == nullptr) return false;
    ::io_uring_prep_cancel64(sqe, tag, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = cancel_failed;
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

bool Driver::taken() const noexcept {
    return ::io_uring_sq_ready(ring_.get()) == 0;
}

bool Driver::told() const noexcept {
    return !::io_uring_cq_has_overflow(ring_.get()) && ::io_uring_cq_ready(ring_.get()) == 0;
}

void Driver::flush() noexcept {
    constexpr __kernel_timespec without_waiting{};
    if (soft_)
        (void)soft_->enter(0, &without_waiting);
    else if (ring_)
        (void)::io_uring_submit(ring_.get());
}

bool Driver::settled() const noexcept {
    // In the cooperative mode any system call may complete something.
    return features_.mode != RingMode::cooperative && ::io_uring_cq_ready(ring_.get()) == 0 &&
           !::io_uring_cq_has_overflow(ring_.get());
}

/// Sees to it that the ring itself ends a wait by `until`; returns false when it does not. A limit
/// set for each wait costs one with a single connection, which sleeps between two requests, a
/// twentieth of its CPU; a request of the ring is there once for all waits. It is made, or moved,
/// for what two waits in a row need.
bool Driver::ensure_alarm(Instant until) noexcept {
    if (until >= alarm_due_) return true;
    if (std::exchange(last_until_, until) != until) return false;
    io_uring_sqe* const sqe = room();
    if (sqe == nullptr) return false;
    alarm_time_ = timespec_of(until.time_since_epoch());
    if (alarm_due_ == Instant::max()) {
        ::io_uring_prep_timeout(sqe, &alarm_time_, 0, IORING_TIMEOUT_ABS);
        sqe->user_data = alarm;
    } else {
        // Fails if it passes just now: then the answer to that ends the wait, and a new one is
        // made.
        ::io_uring_prep_timeout_update(sqe, &alarm_time_, alarm, IORING_TIMEOUT_ABS);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = 0;
    }
    alarm_due_ = until;
    return true;
}

Result<void> Driver::enter(const Wait& wait, std::uint32_t answers) noexcept {
    int outcome = 0;
    const bool no_wait = wait.until <= wait.clock;
    const bool for_ever = wait.until == Instant::max();
    const std::uint32_t wanted = no_wait ? answers : answers + 1;
    const auto left = [&] {
        return timespec_of(no_wait ? Instant::duration{} : wait.until - wait.clock);
    };
    if (soft_) [[unlikely]] {
        const __kernel_timespec limit = left();
        outcome = soft_->enter(answers + 1, for_ever ? nullptr : &limit);
    } else if (::io_uring_cq_ready(ring_.get()) >= wanted) {
        // With as many at hand as are waited for, liburing would submit and not ask for more: the
        // kernel would do none of the work it has deferred until it is asked.
        outcome = ::io_uring_submit_and_get_events(ring_.get());
    } else if (!no_wait && wait.least > 1 && features_.minimum_waits) {
        __kernel_timespec limit = for_ever ? timespec_of(endless) : left();
        io_uring_cqe* first = nullptr;
        outcome = ::io_uring_submit_and_wait_min_timeout(
            ring_.get(), &first, answers + wait.least, &limit,
            static_cast<unsigned>(limits::batch_wait_us.count()), nullptr);
    } else if (no_wait || for_ever || (alarm_due_ > wait.clock && ensure_alarm(wait.until))) {
        // An alarm that has passed and was not answered is not relied on.
        outcome = ::io_uring_submit_and_wait(ring_.get(), wanted);
    } else {
        __kernel_timespec limit = left();
        io_uring_cqe* first = nullptr;
        outcome = ::io_uring_submit_and_wait_timeout(ring_.get(), &first, wanted, &limit, nullptr);
    }
    if (outcome >= 0 || outcome == -ETIME || outcome == -EINTR || outcome == -EAGAIN ||
        outcome == -EBUSY)
        return {};
    return Error{"io_uring_enter", -outcome};
}

}  // namespace ringfort::uring
