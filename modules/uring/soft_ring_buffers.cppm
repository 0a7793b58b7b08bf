module;
#include <liburing.h>
#include <sys/uio.h>
module ringfort.uring:soft_ring_buffers;

import ringfort.std;
import :soft_ring;

// Nothing here is exported: it is SoftRing's inside.
namespace ringfort::uring::soft {

/// The rings of provided buffers, as Linux's io_uring/kbuf.c keeps them.
///
/// To look at the next buffers and to use them up are two steps: a receive that finds nothing
/// leaves the ring as it was.
class BufferGroups {
public:
    /// See SoftRing.
    [[nodiscard]] int add(std::uint16_t group, io_uring_buf_ring& ring, unsigned entries,
                          BufferUse use);
    [[nodiscard]] int remove(std::uint16_t group) noexcept;

    /// Reports whether the group has a buffer to pick.
    [[nodiscard]] bool available(std::uint16_t group) const noexcept;
    /// Reports whether the group's buffers are used up bit by bit.
    [[nodiscard]] bool incremental(std::uint16_t group) const noexcept;
    /// Looks at the next buffers, at most `limit` bytes (0: no limit) and `most` buffers of them,
    /// and appends them to `parts`. Returns the number of bytes; 0 when there is no buffer.
    [[nodiscard]] std::size_t peek(std::uint16_t group, std::size_t limit, std::size_t most,
                                   std::vector<iovec>& parts) noexcept;
    /// Uses up `length` bytes of the buffers that `peek` showed, `count` buffers in a ring of whole
    /// ones. Returns the completion's flags: the first buffer's id, and whether it is used again.
    std::uint32_t commit(std::uint16_t group, std::size_t length, unsigned count) noexcept;
    /// Reports whether what was committed last was of the ring's last buffer.
    [[nodiscard]] bool exhausted() const noexcept { return exhausted_; }

private:
    struct Group {
        io_uring_buf_ring* ring = nullptr;
        std::uint16_t head = 0;
        std::uint16_t mask = 0;
        BufferUse use = BufferUse::whole;

        [[nodiscard]] io_uring_buf& at(std::uint16_t position) const noexcept;
        [[nodiscard]] std::uint16_t count() const noexcept;
        [[nodiscard]] bool consume(std::size_t length) noexcept;
    };
    [[nodiscard]] const Group* find(std::uint16_t group) const noexcept;

    std::vector<Group> groups_;
    bool exhausted_ = false;
};

}  // namespace ringfort::uring::soft
