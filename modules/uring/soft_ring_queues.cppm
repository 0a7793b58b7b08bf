module;
#include <liburing.h>
module ringfort.uring:soft_ring_queues;

import ringfort.std;

// Nothing here is exported: it is SoftRing's inside.
namespace ringfort::uring::soft {

/// The submission and completion queue of a ring, laid out as the kernel lays them out.
///
/// Invariant: a completion is either in the queue or, when that was full, in the backlog behind it;
/// they come out in the order in which they were posted.
class Queues {
public:
    Queues(unsigned submissions, unsigned completions);
    Queues(Queues&&) = delete;

    /// Points `ring` here, from where `take` learns what was submitted.
    void attach(io_uring& ring) noexcept;
    /// Takes the oldest submission into `sqe`; false when there is none. Its place may be filled
    /// anew after `taken`.
    [[nodiscard]] bool take(io_uring_sqe& sqe) noexcept;
    /// Gives the places of what was taken back.
    void taken() noexcept;

    /// Posts a completion.
    void post(std::uint64_t user_data, std::int32_t result, std::uint32_t flags);
    /// Reports whether a completion would go into the queue itself.
    [[nodiscard]] bool room() const noexcept;
    /// Counts the completions that the program has not seen yet, without the backlog.
    [[nodiscard]] unsigned ready() const noexcept;
    /// Moves the backlog into the queue as far as there is room.
    void flush_backlog() noexcept;
    [[nodiscard]] unsigned capacity() const noexcept { return completion_mask_ + 1; }

private:
    struct Posted {
        std::uint64_t user_data;
        std::int32_t result;
        std::uint32_t flags;
    };
    void write(const Posted& posted) noexcept;

    std::vector<io_uring_sqe> submissions_;
    std::vector<std::uint32_t> order_;  ///< the indirection array, which nobody reads
    std::vector<std::byte> completions_;
    std::deque<Posted> backlog_;
    unsigned submission_mask_;
    unsigned completion_mask_;
    unsigned submission_head_ = 0;
    unsigned submission_tail_ = 0;
    unsigned submission_flags_ = 0;
    unsigned dropped_ = 0;
    unsigned completion_head_ = 0;
    unsigned completion_tail_ = 0;
    unsigned completion_flags_ = 0;
    unsigned overflow_ = 0;
    unsigned submission_entries_;
    unsigned completion_entries_;
    io_uring* ring_ = nullptr;
};

}  // namespace ringfort::uring::soft
