module;
#include <linux/time_types.h>
export module ringfort.uring:driver;

import ringfort.base;
import ringfort.std;
import :features;
import :request;
import :restriction;
import :soft_ring;

extern "C" {
struct io_uring;
struct io_uring_buf_ring;
struct io_uring_sqe;
}

namespace ringfort::uring {
/// Fills in what the kernel is asked for.
void prepare(io_uring_sqe& sqe, const Request& request) noexcept;
}  // namespace ringfort::uring

export namespace ringfort::uring {

/// What carries the requests out.
enum class Backend : std::uint8_t {
    automatic,  ///< io_uring, and where it is refused epoll; RINGFORT_DRIVER may say otherwise
    io_uring,
    epoll  ///< a SoftRing
};

/// How long the loop may wait for a completion. An io_uring counts the time from when the queue has
/// been handed over, unless its alarm is set: what is sent on the way makes the wait end so much
/// later.
struct Wait {
    Instant until = Instant::min();  ///< a moment that has passed: not at all; max: for ever
    Instant clock = {};              ///< when it was read last
    std::uint32_t least = 1;         ///< completions; after `limits::batch_wait_us` one is enough
};

/// The io_uring of one thread, or the SoftRing in its place: owns it, translates requests, makes
/// the loop's one system call. The two share the queues' layout, so that only this call differs.
class Driver {
public:
    Driver() noexcept;
    Driver(Driver&&) = delete;
    ~Driver();

    /// Sets the ring up with the best of `wanted` that the kernel has. Errors: those of
    /// io_uring_setup(2) and io_uring_register(2), EINVAL when the kernel knows none of the modes;
    /// with Backend::automatic only those that are no refusal. With `permits` the ring refuses,
    /// with EACCES, all that is not asked for here or permitted; a SoftRing does not.
    [[nodiscard]] Result<void> open(std::uint32_t submissions, std::uint32_t completions,
                                    const Features& wanted, Backend backend,
                                    std::optional<Permits> permits = {});
    [[nodiscard]] inline const Features& features() const noexcept { return features_; }
    /// Returns what carries the requests out: io_uring or epoll.
    [[nodiscard]] inline Backend backend() const noexcept {
        return soft_ ? Backend::epoll : Backend::io_uring;
    }
    /// Tells whether a request that is in the ring can end a wait. Not in a time namespace whose
    /// clock is not the machine's: there each wait passes its limit to the call.
    [[nodiscard]] inline bool has_alarm() const noexcept { return has_alarm_; }
    /// Returns why io_uring was not used although it was wanted.
    [[nodiscard]] inline const std::optional<Error>& refusal() const noexcept { return refusal_; }

    /// Registers a ring of buffers, `entries` a power of two, shared between receives if that is
    /// possible; `shared` tells whether it is. Errors: ENOMEM, EINVAL.
    [[nodiscard]] Result<io_uring_buf_ring*> add_buffers(std::uint32_t entries, std::uint16_t group,
                                                         bool& shared) noexcept;
    void remove_buffers(io_uring_buf_ring& ring, std::uint32_t entries,
                        std::uint16_t group) noexcept;
    /// Is to be told of a descriptor that is closed by other means than `close`.
    void forget(RawFd fd) noexcept;

    /// Queues a request; its completion will carry `tag`, above `alarm`. Returns whether there was
    /// room.
    [[nodiscard]] bool submit(const Request& request, std::uint64_t tag) noexcept;
    /// The flags of a send of what the socket takes at once: MSG_DONTWAIT, for it is to be carried
    /// out while it is submitted, and MSG_WAITALL, or a part would do.
    static const std::uint32_t at_once;
    /// When a send has a completion.
    enum class Answered : std::uint8_t { unless_all_goes, always };
    /// Queues the sending of `bytes`, of as many as the socket takes at once. Returns whether there
    /// was room.
    [[nodiscard]] bool send_at_once(RawFd socket, std::span<const std::byte> bytes,
                                    std::uint64_t tag, Answered answered) noexcept;
    /// Tells, after a call, whether the kernel has taken all that was queued before it.
    [[nodiscard]] bool taken() const noexcept;
    /// Tells, between two turns, whether nothing that the kernel has answered is left to be seen.
    [[nodiscard]] bool told() const noexcept;
    /// The tag of an answer that tells that the kernel could not cancel; of which request it does
    /// not tell, as that may be gone.
    static constexpr std::uint64_t cancel_failed = 8;
    /// The tag of the answer that comes when the ring's alarm was due: `alarm_passed` is to be
    /// called. Every request's tag is above it.
    static constexpr std::uint64_t alarm = 16;
    /// Takes note of that: the next wait that needs an alarm sets one.
    inline void alarm_passed() noexcept { alarm_due_ = Instant::max(); }
    /// Queues the cancelling of the request with this tag. It is answered by that request, and by
    /// `cancel_failed` if there was none or the kernel was just working on it.
    [[nodiscard]] bool cancel(std::uint64_t tag) noexcept;
    /// Queues the closing of a descriptor, after all that was queued before; nothing answers it.
    [[nodiscard]] bool close(RawFd fd) noexcept;
    /// Hands the queue to the kernel without waiting.
    void flush() noexcept;
    /// Hands the queue to the kernel and waits for `wait.least` completions more than `answers`,
    /// which are those that come while the queue is handed over; if it is not to wait, for those
    /// alone. A kernel that has no minimum wait, and a SoftRing, wait for one.
    /// Errors: those of io_uring_enter(2) but ETIME, EINTR, EAGAIN and EBUSY, which mean: go on.
    [[nodiscard]] Result<void> enter(const Wait& wait, std::uint32_t answers) noexcept;

    /// Tells whether every completion has been seen and none comes before the next `flush` or
    /// `enter`: then the kernel writes to no buffer that was provided to it.
    [[nodiscard]] bool settled() const noexcept;

    /// Returns the ring, for what reaps it and for buffers that are registered with it.
    [[nodiscard]] inline io_uring& ring() noexcept { return *ring_; }

private:
    struct Close {
        void operator()(io_uring* ring) const noexcept;
    };

    [[nodiscard]] Result<void> open_ring(std::uint32_t submissions, std::uint32_t completions,
                                         const Features& wanted);
    [[nodiscard]] Result<void> open_ring(std::uint32_t submissions, std::uint32_t completions,
                                         RingMode mode);
    [[nodiscard]] Result<void> learn_features();
    [[nodiscard]] Result<void> open_soft(std::uint32_t submissions, std::uint32_t completions);
    [[nodiscard]] bool ensure_alarm(Instant until) noexcept;
    [[nodiscard]] io_uring_sqe* room() noexcept;
    [[nodiscard]] [[clang::preserve_most]] io_uring_sqe* make_room() noexcept;

    std::unique_ptr<io_uring, Close> ring_;
    std::unique_ptr<SoftRing> soft_;  ///< what ring_ points into, if there is no io_uring
    Features features_;
    std::optional<Error> refusal_;
    std::optional<Permits> permits_;  ///< absent: the ring is not restricted
    bool has_alarm_ = true;
    Instant alarm_due_ = Instant::max();   ///< when a request of the ring ends the wait; max: none
    Instant last_until_ = Instant::max();  ///< of the last wait that it did not cover
    __kernel_timespec alarm_time_{};       ///< what the kernel reads when the request goes in
};

}  // namespace ringfort::uring
