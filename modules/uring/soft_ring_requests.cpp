module;
#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring_requests;

namespace ringfort::uring::soft {

namespace {

constexpr std::size_t block_requests = 64;
constexpr unsigned first_bucket_bits = 8;

}  // namespace

std::size_t Message::left() const noexcept {
    std::size_t sum = 0;
    for (std::size_t i = first; i < parts.size(); ++i) sum += parts[i].iov_len;
    return sum;
}

void Message::advance(std::size_t count) noexcept {
    while (first < parts.size() && count >= parts[first].iov_len) count -= parts[first++].iov_len;
    if (count > 0) {
        ensure(first < parts.size(), "more bytes were moved than a message has");
        parts[first].iov_base = static_cast<std::byte*>(parts[first].iov_base) + count;
        parts[first].iov_len -= count;
    }
    header.msg_iov = parts.data() + first;
    header.msg_iovlen = parts.size() - first;
}

Message& Request::text() {
    if (!message) message = std::make_unique<Message>();
    return *message;
}

void RequestList::push_back(Request& request) noexcept {
    request.previous = last_;
    request.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &request;
    last_ = &request;
}

void RequestList::remove(Request& request) noexcept {
    (request.previous != nullptr ? request.previous->next : first_) = request.next;
    (request.next != nullptr ? request.next->previous : last_) = request.previous;
    request.previous = request.next = nullptr;
}

Requests::Requests()
    : buckets_(std::size_t{1} << first_bucket_bits), shift_{64 - first_bucket_bits} {}

Request& Requests::make(const io_uring_sqe& sqe) {
    if (free_ == nullptr) {
        auto& block = blocks_.emplace_back(std::make_unique<Request[]>(block_requests));
        for (std::size_t i = 0; i < block_requests; ++i)
            block[i].next = std::exchange(free_, &block[i]);
    }
    Request& request = *free_;
    free_ = request.next;
    request.next = nullptr;
    request.sqe = sqe;
    return request;
}

void Requests::release(Request& request) noexcept {
    request.done = 0;
    request.events = request.ready = request.buffer_flags = 0;
    request.place = Place::running;
    request.woken = request.in_progress = request.aborted = request.exhausted = false;
    request.next = std::exchange(free_, &request);
}

std::size_t Requests::slot(std::uint64_t user_data) const noexcept {
    // Fibonacci hashing: user data are mostly addresses, alike in their low bits.
    return static_cast<std::size_t>((user_data * 0x9E37'79B9'7F4A'7C15ULL) >> shift_);
}

void Requests::enter(Request& request) {
    if (waiting_ == buckets_.size()) grow();
    Request*& bucket = buckets_[slot(request.sqe.user_data)];
    request.same_bucket = std::exchange(bucket, &request);
    ++waiting_;
}

void Requests::leave(Request& request) noexcept {
    Request** link = &buckets_[slot(request.sqe.user_data)];
    while (*link != &request) {
        ensure(*link != nullptr, "a waiting request is not in the index");
        link = &(*link)->same_bucket;
    }
    *link = std::exchange(request.same_bucket, nullptr);
    --waiting_;
}

Request* Requests::bucket(std::uint64_t user_data) const noexcept {
    return buckets_[slot(user_data)];
}

void Requests::grow() {
    std::vector<Request*> old(buckets_.size() * 2);
    old.swap(buckets_);
    --shift_;
    for (Request* head : old) {
        // Oldest first, so that the newest ends up in front again.
        Request* reversed = nullptr;
        while (head != nullptr) {
            Request* next = std::exchange(head->same_bucket, reversed);
            reversed = std::exchange(head, next);
        }
        while (reversed != nullptr) {
            Request* next = reversed->same_bucket;
            Request*& bucket = buckets_[slot(reversed->sqe.user_data)];
            reversed->same_bucket = std::exchange(bucket, reversed);
            reversed = next;
        }
    }
}

}  // namespace ringfort::uring::soft
