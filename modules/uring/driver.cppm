module;
#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
export module ringfort.uring:driver;

import ringfort.base;

export namespace ringfort::uring {

struct Request;

/// How the kernel delivers completions, best first.
enum class RingMode : std::uint8_t {
    deferred_no_array,  ///< 6.6: as below, and no indirection array of submissions
    deferred,           ///< 6.1: work is done when the loop asks for it, never in between
    cooperative,        ///< 5.19: work waits for the next system call
};

/// Says what a mode lacks against the best one, for the log.
[[nodiscard]] std::string_view consequence(RingMode mode) noexcept;

/// A completion as the ring delivers it. See io_uring_enter(2), struct io_uring_cqe.
struct Completion {
    std::uint64_t tag = 0;
    int result = 0;
    std::uint32_t flags = 0;
};

/// The io_uring of one thread: owns it, translates requests, makes the loop's one system call.
class Driver {
public:
    Driver() noexcept = default;
    Driver(Driver&&) = delete;
    ~Driver();

    /// Sets the ring up in the best mode the kernel has, `best` or below. Errors: those of
    /// io_uring_setup(2); EINVAL when the kernel knows none of the modes.
    [[nodiscard]] Result<void> open(std::uint32_t submissions, std::uint32_t completions,
                                    RingMode best);
    [[nodiscard]] RingMode mode() const noexcept { return mode_; }

    /// Queues a request; its completion will carry `tag`, which is not 0. Returns whether there was
    /// room.
    [[nodiscard]] bool submit(const Request& request, std::uint64_t tag,
                              std::uint16_t buffer_group) noexcept;
    /// Queues the cancelling of the request with this tag. Returns whether there was room.
    [[nodiscard]] bool cancel(std::uint64_t tag) noexcept;
    /// Hands the queue to the kernel and waits at most `wait` (for ever when absent) for a
    /// completion; zero does not wait. Errors: those of io_uring_enter(2) but ETIME, EINTR, EAGAIN
    /// and EBUSY, which mean: go on.
    [[nodiscard]] Result<void> enter(std::optional<std::int64_t> wait_ns) noexcept;
    /// Takes completions out of the ring, at most as many as `out` holds; returns how many.
    [[nodiscard]] std::size_t reap(std::span<Completion> out) noexcept;

    /// Returns the ring, for the buffers that are registered with it.
    [[nodiscard]] io_uring& ring() noexcept { return ring_; }

private:
    io_uring_sqe* room() noexcept;

    io_uring ring_{};
    bool open_ = false;
    RingMode mode_ = RingMode::deferred_no_array;
};

}  // namespace ringfort::uring
