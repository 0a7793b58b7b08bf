module;
#include <liburing.h>
#include <ringfort/try.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {
constexpr std::uint32_t max_ring_entries = 32'768;

constexpr std::size_t offset = limits::receive_buffer_offset.count;
constexpr std::size_t least_page = 4'096;
static_assert(offset > 0 && offset < least_page);
static_assert(offset % alignof(std::max_align_t) == 0);  // a datagram's begins with a structure
}  // namespace

BufferPool::~BufferPool() {
    ensure(leases_ == 0, "a buffer pool was destroyed with leases out");
    if (ring_ != nullptr) driver_->remove_buffers(*ring_, ring_entries_, options_.group);
    if (memory_ != nullptr) ::munmap(memory_, options_.max_count * stride_);
}

Result<void> BufferPool::open(Driver& driver, Loop& loop, Options options) {
    if (options.count == 0 || options.count > options.max_count ||
        options.max_count > max_ring_entries || options.buffer_size.count == 0 ||
        options.buffer_size > limits::max_request)
        return Error{"set up receive buffers", EINVAL};
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    stride_ = (offset + options.buffer_size.count + page - 1) / page * page;
    options_ = options;
    void* memory = ::mmap(nullptr, options.max_count * stride_, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return Error::last("mmap receive buffers");
    memory_ = static_cast<std::byte*>(memory);
    driver_ = &driver;
    loop_ = &loop;
    ring_entries_ = std::bit_ceil(options.max_count);
    // A datagram must not find the rest of a buffer too small for it.
    incremental_ = options.group == group && driver.features().incremental_buffers;
    RF_LET(ring_, driver.add_buffers(ring_entries_, options.group, incremental_));
    buffers_ = std::make_unique<Buffer[]>(options.max_count);
    parked_.resize(options.max_count);
    for (std::uint32_t i = 0; i < options.max_count; ++i)
        parked_[i] = static_cast<std::uint16_t>(options.max_count - 1 - i);
    without_pages_ = least_parked_ = options.max_count;
    return replenish() ? Result<void>{} : Error{"set up receive buffers", ENOBUFS};
}

/// Takes note that the kernel is done with a buffer.
[[clang::preserve_most]] void BufferPool::filled(std::uint16_t id) noexcept {
    static_assert(id_shift == IORING_CQE_BUFFER_SHIFT && goes_on == IORING_CQE_F_BUF_MORE);
    Buffer& buffer = buffers_[id];
    buffer.with_kernel = false;
    ++used_;
    least_available_ = std::min(least_available_, --available_);
    if (buffer.leases == 0) recycle(id);
}

bool BufferPool::replenish() noexcept {
    if (available_ > 0) return true;
    const std::size_t twice = std::size_t{2} * std::max(used_, used_before_);
    const auto wanted = std::min(std::max<std::size_t>(options_.count, twice), parked_.size());
    for (std::size_t i = 0; i < wanted; ++i) supply(unpark());
    if (active_ > options_.count) begin_trimming();
    return wanted > 0;
}

/// Puts the buffer that was parked last, which there must be, into circulation.
std::uint16_t BufferPool::unpark() noexcept {
    const std::uint16_t id = parked_.back();
    parked_.pop_back();
    least_parked_ = std::min(least_parked_, parked_.size());
    without_pages_ = std::min(without_pages_, parked_.size());
    ++active_;
    return id;
}

Lease BufferPool::borrow() noexcept {
    if (parked_.empty()) return {};
    const std::uint16_t id = unpark();
    ++leases_;
    ++buffers_[id].leases;
    return {*this, id, {address(id), options_.buffer_size.count}};
}

Lease BufferPool::lease_copy(std::span<const std::byte> bytes) {
    const std::uint32_t id = id_of_copy();
    auto& memory = copies_[id - options_.max_count];
    memory = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
    std::ranges::copy(bytes, memory.get());
    ++buffers_[id].leases;
    ++leases_;
    return {*this, id, {memory.get(), bytes.size()}};
}

std::uint32_t BufferPool::id_of_copy() {
    if (free_copies_.empty()) {
        const std::size_t before = options_.max_count + copies_.size();
        const std::size_t more = std::max<std::size_t>(copies_.size(), 64);
        auto larger = std::make_unique<Buffer[]>(before + more);
        std::copy_n(buffers_.get(), before, larger.get());
        buffers_ = std::move(larger);
        copies_.resize(copies_.size() + more);
        free_copies_.reserve(copies_.size());
        for (std::size_t id = before; id < before + more; ++id)
            free_copies_.push_back(static_cast<std::uint32_t>(id));
    }
    const std::uint32_t id = free_copies_.back();
    free_copies_.pop_back();
    return id;
}

[[clang::preserve_most]] void BufferPool::recycle(std::uint32_t number) noexcept {
    if (number >= options_.max_count) {
        copies_[number - options_.max_count].reset();
        free_copies_.push_back(number);
        return;
    }
    const auto id = static_cast<std::uint16_t>(number);
    if (available_ >= options_.count) {
        --active_;
        parked_.push_back(id);
        begin_trimming();
    } else {
        supply(id);
    }
    if (!waiting_.empty()) loop_->buffer_available(*this);
}

void BufferPool::release_pages(std::uint16_t id) noexcept {
    (void)::madvise(pages(id), stride_, MADV_DONTNEED);
}

void BufferPool::begin_trimming() noexcept {
    if (!armed()) loop_->scheduler().timers().arm(*this, now() + limits::buffer_trim_ms);
}

void BufferPool::trim() noexcept {
    std::uint32_t left = limits::buffers_trimmed;
    for (; left > 0 && without_pages_ < least_parked_; --left)
        release_pages(parked_[without_pages_++]);
    // In a quiet loop no buffer comes back to be parked. The kernel keeps them, without pages, if
    // it is certain that there is nothing in them.
    const bool many = active_ > options_.count;
    const bool settled = many && least_available_ == active_ && driver_->settled();
    if (!settled) trimmed_to_ = 0;
    for (; settled && left > 0 && trimmed_to_ < options_.max_count; ++trimmed_to_) {
        if (!buffers_[trimmed_to_].with_kernel || buffers_[trimmed_to_].filled > 0) continue;
        release_pages(static_cast<std::uint16_t>(trimmed_to_));
        --left;
    }
    coro::Scheduler& scheduler = loop_->scheduler();
    if (left == 0)
        return scheduler.timers().arm(*this, scheduler.time() + limits::buffer_trim_pause_ms);
    trimmed_to_ = 0;
    least_parked_ = parked_.size();
    least_available_ = available_;
    if (without_pages_ < parked_.size() || (many && !settled))
        scheduler.timers().arm(*this, scheduler.time() + limits::buffer_trim_ms);
}

void BufferPool::supply(std::uint16_t id) noexcept {
    buffers_[id].filled = 0;
    buffers_[id].with_kernel = true;
    ++available_;
    ::io_uring_buf_ring_add(ring_, address(id), static_cast<unsigned>(options_.buffer_size.count),
                            id, ::io_uring_buf_ring_mask(ring_entries_), 0);
    ::io_uring_buf_ring_advance(ring_, 1);
}

}  // namespace ringfort::uring
