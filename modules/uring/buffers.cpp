module;
#include <liburing.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {
namespace {
constexpr std::uint32_t max_ring_entries = 32'768;
constexpr Bytes largest{1U << 30};
}  // namespace

void Lease::release() noexcept {
    bytes_ = {};
    if (pool_ != nullptr) std::exchange(pool_, nullptr)->give_back(id_);
}

BufferPool::~BufferPool() {
    ensure(leased_ == 0, "a buffer pool was destroyed with leases out");
    if (ring_ != nullptr) ::io_uring_free_buf_ring(&driver_->ring(), ring_, ring_entries_, group);
    if (memory_ != nullptr)
        ::munmap(memory_, std::size_t{options_.max_count} * options_.buffer_size.count);
}

Result<void> BufferPool::open(Driver& driver, Loop& loop, Options options) {
    if (options.count == 0 || options.count > options.max_count ||
        options.max_count > max_ring_entries || options.buffer_size.count == 0 ||
        options.buffer_size > largest)
        return Error{"set up receive buffers", EINVAL};
    void* memory =
        ::mmap(nullptr, std::size_t{options.max_count} * options.buffer_size.count,
               PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return Error::last("mmap receive buffers");
    memory_ = static_cast<std::byte*>(memory);
    options_ = options;
    driver_ = &driver;
    loop_ = &loop;
    ring_entries_ = std::bit_ceil(options.max_count);
    int outcome = 0;
    ring_ = ::io_uring_setup_buf_ring(&driver.ring(), ring_entries_, group, 0, &outcome);
    if (ring_ == nullptr) return Error{"io_uring_setup_buf_ring", -outcome};
    idle_.resize(options.max_count);
    for (std::uint32_t i = 0; i < options.max_count; ++i)
        idle_[i] = static_cast<std::uint16_t>(options.max_count - 1 - i);
    return replenish() ? Result<void>{} : Error{"set up receive buffers", ENOBUFS};
}

Lease BufferPool::take(std::uint32_t completion_flags, std::size_t length) noexcept {
    const auto id = static_cast<std::uint16_t>(completion_flags >> IORING_CQE_BUFFER_SHIFT);
    ++leased_;
    return {*this, id, {address(id), length}};
}

bool BufferPool::replenish() noexcept {
    if (active_ > leased_) return true;
    const auto wanted = std::min<std::size_t>(options_.count, idle_.size());
    for (std::size_t i = 0; i < wanted; ++i) {
        supply(idle_.back());
        idle_.pop_back();
        ++active_;
    }
    return wanted > 0;
}

void BufferPool::give_back(std::uint16_t id) noexcept {
    --leased_;
    const bool surplus = active_ > options_.count && leased_ < active_ / 4;
    if (surplus) {
        // The peak has passed: its pages go back to the system.
        (void)::madvise(address(id), options_.buffer_size.count, MADV_DONTNEED);
        idle_.push_back(id);
        --active_;
    } else {
        supply(id);
    }
    loop_->buffer_available();
}

void BufferPool::supply(std::uint16_t id) noexcept {
    ::io_uring_buf_ring_add(ring_, address(id), static_cast<unsigned>(options_.buffer_size.count),
                            id, ::io_uring_buf_ring_mask(ring_entries_), 0);
    ::io_uring_buf_ring_advance(ring_, 1);
}

}  // namespace ringfort::uring
