module;
#include <liburing.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring_queues;

namespace ringfort::uring::soft {

Queues::Queues(unsigned submissions, unsigned completions)
    : submissions_(submissions),
      order_(submissions),
      completions_(std::size_t{completions} * sizeof(io_uring_cqe)),
      submission_mask_{submissions - 1},
      completion_mask_{completions - 1},
      submission_entries_{submissions},
      completion_entries_{completions} {
    ensure(std::has_single_bit(submissions) && std::has_single_bit(completions),
           "a queue's length is no power of two");
    for (unsigned i = 0; i < submissions; ++i) order_[i] = i;
}

void Queues::attach(io_uring& ring) noexcept {
    ring = {};
    ring.sq.khead = &submission_head_;
    ring.sq.ktail = &submission_tail_;
    ring.sq.kring_mask = &submission_mask_;
    ring.sq.kring_entries = &submission_entries_;
    ring.sq.kflags = &submission_flags_;
    ring.sq.kdropped = &dropped_;
    ring.sq.array = order_.data();
    ring.sq.sqes = submissions_.data();
    ring.sq.sqe_head = submission_head_;
    ring.sq.sqe_tail = submission_tail_;
    ring.sq.ring_mask = submission_mask_;
    ring.sq.ring_entries = submission_entries_;
    ring.cq.khead = &completion_head_;
    ring.cq.ktail = &completion_tail_;
    ring.cq.kring_mask = &completion_mask_;
    ring.cq.kring_entries = &completion_entries_;
    ring.cq.kflags = &completion_flags_;
    ring.cq.koverflow = &overflow_;
    ring.cq.cqes = reinterpret_cast<io_uring_cqe*>(completions_.data());
    ring.cq.ring_mask = completion_mask_;
    ring.cq.ring_entries = completion_entries_;
    ring.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_NO_SQARRAY;
    ring.features = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS |
                    IORING_FEAT_FAST_POLL | IORING_FEAT_POLL_32BITS | IORING_FEAT_EXT_ARG |
                    IORING_FEAT_CQE_SKIP | IORING_FEAT_RECVSEND_BUNDLE;
    ring.ring_fd = -1;
    ring.enter_ring_fd = -1;
    ring_ = &ring;
}

bool Queues::take(io_uring_sqe& sqe) noexcept {
    // What __io_uring_flush_sq does: all that was handed out counts as submitted.
    if (ring_ == nullptr || ring_->sq.sqe_head == ring_->sq.sqe_tail) return false;
    sqe = submissions_[ring_->sq.sqe_head++ & submission_mask_];
    return true;
}

void Queues::taken() noexcept {
    if (ring_ == nullptr) return;
    submission_tail_ = ring_->sq.sqe_tail;
    io_uring_smp_store_release(&submission_head_, ring_->sq.sqe_head);
}

void Queues::post(std::uint64_t user_data, std::int32_t result, std::uint32_t flags) {
    const Posted posted{user_data, result, flags};
    if (room()) return write(posted);
    backlog_.push_back(posted);
    submission_flags_ |= IORING_SQ_CQ_OVERFLOW;
}

bool Queues::room() const noexcept {
    return backlog_.empty() && ready() <= completion_mask_;
}

unsigned Queues::ready() const noexcept {
    return completion_tail_ - io_uring_smp_load_acquire(&completion_head_);
}

void Queues::flush_backlog() noexcept {
    if (backlog_.empty()) return;
    while (!backlog_.empty() && ready() <= completion_mask_) {
        write(backlog_.front());
        backlog_.pop_front();
    }
    if (backlog_.empty()) submission_flags_ &= ~IORING_SQ_CQ_OVERFLOW;
}

void Queues::write(const Posted& posted) noexcept {
    const std::size_t at = completion_tail_ & completion_mask_;
    auto& cqe = *reinterpret_cast<io_uring_cqe*>(completions_.data() + at * sizeof(io_uring_cqe));
    cqe.user_data = posted.user_data;
    cqe.res = posted.result;
    cqe.flags = posted.flags;
    io_uring_smp_store_release(&completion_tail_, completion_tail_ + 1);
}

}  // namespace ringfort::uring::soft
