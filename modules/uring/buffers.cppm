export module ringfort.uring:buffers;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :driver;
import :multishot;

extern "C" {
struct io_uring_buf_ring;
}

export namespace ringfort::uring {

class BufferPool;
class Loop;

/// Bytes that the kernel received into a buffer of the loop's pool. Gives them back when it ends;
/// until then the bytes stay. Must not outlive the loop.
class Lease {
public:
    Lease() noexcept = default;
    inline Lease(Lease&& other) noexcept
        : pool_{std::exchange(other.pool_, nullptr)},
          size_{std::exchange(other.size_, 0)},
          id_{other.id_},
          data_{other.data_} {}
    inline Lease& operator=(Lease&& other) noexcept {
        if (this != &other) {
            release();
            fill(other);
        }
        return *this;
    }
    inline ~Lease() {
        if (pool_ != nullptr) release();
    }

    /// Return the received bytes and their number; valid until the lease ends.
    [[nodiscard]] inline bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] inline std::size_t size() const noexcept { return size_; }
    [[nodiscard]] inline std::span<const std::byte> bytes() const noexcept {
        return {data_, size_};
    }
    /// Returns the same bytes as text.
    [[nodiscard]] inline std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(data_), size_};
    }
    /// Forgets the first `count` bytes, at most `size()`: they were read.
    inline void remove_prefix(std::size_t count) noexcept {
        ensure(count <= size_, "more was taken off a lease than it has");
        data_ += count;
        size_ -= static_cast<std::uint32_t>(count);
    }
    /// Gives the bytes back now; the lease is empty afterwards.
    void release() noexcept;

private:
    friend class BufferPool;
    friend class Receiver;
    friend class Sender;
    friend class Senders;
    /// Takes over what `other` holds into an empty lease.
    inline void fill(Lease& other) noexcept {
        pool_ = std::exchange(other.pool_, nullptr);
        size_ = std::exchange(other.size_, 0);
        id_ = other.id_;
        data_ = other.data_;
    }
    inline Lease(BufferPool& pool, std::uint32_t id, std::span<const std::byte> bytes) noexcept
        : pool_{&pool},
          size_{static_cast<std::uint32_t>(bytes.size())},
          id_{id},
          data_{bytes.data()} {}

    // The pointers are apart so that no two neighbours are copied in one wide piece, which Clang
    // does with two of them: what has just been written in narrow pieces is waited for when it is
    // read so.
    BufferPool* pool_ = nullptr;
    std::uint32_t size_ = 0;
    std::uint32_t id_ = 0;
    const std::byte* data_ = nullptr;
};

static_assert(sizeof(Lease) == 24);  // a wait for bytes has one

/// Receive buffers of equal size that the kernel picks from (io_uring_setup_buf_ring(3)).
///
/// Where the kernel can (6.12, IOU_PBUF_RING_INC), it fills a buffer piece by piece, for whichever
/// socket has data: each piece is leased on its own, and the buffer is used again when it is full
/// and its last lease has ended. Starts with `count` buffers; supplies more when the kernel runs
/// out, up to `max_count`. The kernel fills its buffers in turn, so one that comes back is parked
/// while the kernel has `count`, and the last one parked is the next to be supplied: what is used
/// stays few enough for the processor's cache. Address space for all of them is reserved at once; a
/// page is resident only once bytes arrived in it, and not for long when its buffer stays parked.
///
/// When all `max_count` are held, bytes that a task waits for are received into memory of their own
/// and leased like others: whoever holds buffers keeps nobody else from going on.
class BufferPool : private coro::Timer {
public:
    static constexpr std::uint16_t group = 0;          ///< of the bytes of streams
    static constexpr std::uint16_t message_group = 1;  ///< of datagrams, each in its own buffer

    /// Bounds: all three non-zero; `count` <= `max_count` <= 32768, the kernel's bound of a ring;
    /// `buffer_size` <= 1GiB.
    struct Options {
        std::uint32_t count;
        std::uint32_t max_count;
        Bytes buffer_size;
        std::uint16_t group = BufferPool::group;
    };

    inline BufferPool() noexcept
        : Timer{[](Timer& self) noexcept { static_cast<BufferPool&>(self).trim(); }} {}
    BufferPool(BufferPool&&) = delete;
    ~BufferPool();

    /// Reserves the memory and registers the ring with `driver`, which must outlive the pool.
    /// Errors: ENOMEM; EINVAL for an option out of bounds or a kernel before 5.19.
    [[nodiscard]] Result<void> open(Driver& driver, Loop& loop, Options options);

    /// Counts the leases that tasks and receivers hold.
    [[nodiscard]] inline std::uint32_t leased() const noexcept { return leases_; }
    /// Counts the buffers in circulation: held by leases or ready for the kernel.
    [[nodiscard]] inline std::uint32_t active() const noexcept { return active_; }
    /// Tells whether so many buffers are held that no connection should take many more.
    [[nodiscard]] inline bool scarce() const noexcept {
        return active_ - available_ > options_.max_count / 2;
    }

private:
    friend class Lease;
    friend class Loop;
    friend class Receiver;
    friend class Answers;

    /// A buffer: how much of it the kernel has filled, who holds a part of it.
    struct Buffer {
        std::uint32_t filled = 0;
        std::uint32_t leases = 0;
        bool with_kernel = false;
    };

    /// What a completion's flags say of its buffer (io_uring.h): its number, and that the kernel
    /// goes on to fill it.
    static constexpr unsigned id_shift = 16;
    static constexpr std::uint32_t goes_on = 1U << 4;

    /// Leases the `length` bytes that a completion with these flags has brought; none: nothing.
    [[nodiscard]] inline Lease consume(std::uint32_t flags, std::size_t length) noexcept {
        const auto id = static_cast<std::uint16_t>(flags >> id_shift);
        Buffer& buffer = buffers_[id];
        const std::span<const std::byte> bytes{address(id) + buffer.filled, length};
        if (length > 0) [[likely]] {
            buffer.filled += static_cast<std::uint32_t>(length);
            ++buffer.leases;
            ++leases_;
        }
        if (!incremental_ || (flags & goes_on) == 0) [[unlikely]]
            filled(id);
        if (length == 0) [[unlikely]]
            return {};
        return {*this, id, bytes};
    }
    [[clang::preserve_most]] void filled(std::uint16_t id) noexcept;
    /// Returns the size of a buffer in bytes.
    [[nodiscard]] inline std::size_t buffer_size() const noexcept {
        return options_.buffer_size.count;
    }
    /// Tells whether there is a buffer to borrow.
    [[nodiscard]] inline bool lends() const noexcept { return !parked_.empty(); }
    /// Leases a whole buffer that the kernel does not have, to be filled by other means; empty when
    /// there is none. The one that came back last, which is the likeliest to be in the cache.
    [[nodiscard]] Lease borrow() noexcept;
    /// Leases a copy of `bytes`, which has memory of its own.
    [[nodiscard]] Lease lease_copy(std::span<const std::byte> bytes);
    /// Makes sure that the kernel has a buffer to pick; false when every buffer is held. If it had
    /// none, it gets twice as many as it has used in a turn: a burst is met soon, and those who
    /// hold many buffers do not make it fill as many others, one after another.
    [[nodiscard]] bool replenish() noexcept;
    /// Counts the buffers that the kernel has, and those that it has used up in this turn.
    [[nodiscard]] inline std::uint32_t available() const noexcept { return available_; }
    [[nodiscard]] inline std::uint32_t used() const noexcept { return used_; }
    /// Begins to count anew what the kernel uses. Called once in a turn.
    inline void begin_turn() noexcept { used_before_ = std::exchange(used_, 0); }
    /// Gives the pages of buffers back that nobody has used for `limits::buffer_trim_ms`: as many
    /// at a time as keep nobody waiting for long. Goes on by itself as long as there are some.
    void trim() noexcept;
    void begin_trimming() noexcept;
    void give_back(std::uint32_t id) noexcept;
    /// Leaves its caller's registers alone: so what gives a lease back, in many places and seldom
    /// the last one, needs to save none.
    [[clang::preserve_most]] void recycle(std::uint32_t id) noexcept;
    [[nodiscard]] std::uint32_t id_of_copy();
    [[nodiscard]] std::uint16_t unpark() noexcept;
    void supply(std::uint16_t id) noexcept;
    void release_pages(std::uint16_t id) noexcept;
    [[nodiscard]] inline std::byte* pages(std::uint16_t id) const noexcept {
        return memory_ + id * stride_;
    }
    /// Returns where a buffer begins: not with a page, since most of what the kernel copies to it
    /// and from it does, and a copy takes longer where both ends have the same place in their
    /// pages.
    [[nodiscard]] inline std::byte* address(std::uint16_t id) const noexcept {
        return pages(id) + limits::receive_buffer_offset.count;
    }

    Driver* driver_ = nullptr;
    Loop* loop_ = nullptr;
    io_uring_buf_ring* ring_ = nullptr;
    std::byte* memory_ = nullptr;
    std::unique_ptr<Buffer[]> buffers_;
    Options options_{};
    std::size_t stride_ = 0;  ///< of one buffer: whole pages, given back without a neighbour's
    std::uint32_t ring_entries_ = 0;
    std::uint32_t leases_ = 0;
    std::uint32_t active_ = 0;           ///< in circulation
    std::uint32_t available_ = 0;        ///< of those, the kernel's
    std::uint32_t least_available_ = 0;  ///< since the last trim
    std::uint32_t used_ = 0;             ///< that the kernel is done with, in this turn
    std::uint32_t used_before_ = 0;      ///< in the last one: who found none asks a turn later
    bool incremental_ = false;
    std::vector<std::uint16_t> parked_;  ///< not in circulation, the next to be used last
    std::size_t least_parked_ = 0;       ///< since the last trim: the first of them were not used
    std::uint32_t trimmed_to_ = 0;       ///< of the kernel's, if not all at once
    std::size_t without_pages_ = 0;      ///< so many of the first
    coro::List<Multishot> waiting_;      ///< found no buffer
    /// The memory of copies, which count as buffers from `max_count` on, and those without any.
    std::vector<std::unique_ptr<std::byte[]>> copies_;
    std::vector<std::uint32_t> free_copies_;
};

/// See the declaration.
inline void Lease::release() noexcept {
    size_ = 0;
    if (pool_ != nullptr) std::exchange(pool_, nullptr)->give_back(id_);
}

/// See the declaration.
inline void BufferPool::give_back(std::uint32_t id) noexcept {
    --leases_;
    Buffer& buffer = buffers_[id];
    if (--buffer.leases == 0 && !buffer.with_kernel) recycle(id);
}

}  // namespace ringfort::uring
