module;
#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>
export module ringfort.uring:buffers;

import ringfort.base;
import :driver;

export namespace ringfort::uring {

class BufferPool;
class Loop;

/// Bytes that the kernel received into a buffer of the loop's pool. Gives the buffer back when it
/// ends; until then the bytes stay. Must not outlive the loop.
class Lease {
public:
    Lease() noexcept = default;
    Lease(Lease&& other) noexcept
        : pool_{std::exchange(other.pool_, nullptr)},
          id_{other.id_},
          bytes_{std::exchange(other.bytes_, {})} {}
    Lease& operator=(Lease&& other) noexcept {
        if (this != &other) {
            release();
            pool_ = std::exchange(other.pool_, nullptr);
            id_ = other.id_;
            bytes_ = std::exchange(other.bytes_, {});
        }
        return *this;
    }
    ~Lease() { release(); }

    /// Return the received bytes and their number; valid until the lease ends.
    [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
    /// Returns the same bytes as text.
    [[nodiscard]] std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
    }
    /// Gives the buffer back now; the lease is empty afterwards.
    void release() noexcept;

private:
    friend class BufferPool;
    Lease(BufferPool& pool, std::uint16_t id, std::span<const std::byte> bytes) noexcept
        : pool_{&pool}, id_{id}, bytes_{bytes} {}

    BufferPool* pool_ = nullptr;
    std::uint16_t id_ = 0;
    std::span<const std::byte> bytes_;
};

/// Receive buffers of equal size that the kernel picks from (io_uring_setup_buf_ring(3)).
///
/// Starts with `count` buffers, supplies more when the kernel runs out, up to `max_count`, and
/// takes those back when they are idle: memory follows what is really in use. Address space for all
/// of them is reserved at once; a page is resident only once bytes arrived in it.
class BufferPool {
public:
    /// Bounds: all three non-zero; `count` <= `max_count` <= 32768, the kernel's bound of a ring;
    /// `buffer_size` <= 1GiB.
    struct Options {
        std::uint32_t count;
        std::uint32_t max_count;
        Bytes buffer_size;
    };

    BufferPool() noexcept = default;
    BufferPool(BufferPool&&) = delete;
    ~BufferPool();

    /// Reserves the memory and registers the ring with `driver`, which must outlive the pool.
    /// Errors: ENOMEM; EINVAL for an option out of bounds or a kernel before 5.19.
    [[nodiscard]] Result<void> open(Driver& driver, Loop& loop, Options options);

    /// Counts the buffers that tasks hold.
    [[nodiscard]] std::uint32_t leased() const noexcept { return leased_; }
    /// Counts the buffers in circulation: held by tasks or ready for the kernel.
    [[nodiscard]] std::uint32_t active() const noexcept { return active_; }

private:
    friend class Lease;
    friend class Loop;
    static constexpr int group = 0;

    [[nodiscard]] Lease take(std::uint32_t completion_flags, std::size_t length) noexcept;
    /// Makes sure that the kernel has a buffer to pick; false when every buffer is held by a task.
    [[nodiscard]] bool replenish() noexcept;
    void give_back(std::uint16_t id) noexcept;
    void supply(std::uint16_t id) noexcept;
    [[nodiscard]] std::byte* address(std::uint16_t id) const noexcept {
        return memory_ + std::size_t{id} * options_.buffer_size.count;
    }

    Driver* driver_ = nullptr;
    Loop* loop_ = nullptr;
    io_uring_buf_ring* ring_ = nullptr;
    std::uint32_t ring_entries_ = 0;
    std::byte* memory_ = nullptr;
    Options options_{};
    std::uint32_t active_ = 0;
    std::uint32_t leased_ = 0;
    std::vector<std::uint16_t> idle_;  ///< not in circulation, the next to be used last
};

}  // namespace ringfort::uring
