module;
#include <liburing.h>
#include <sys/uio.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring_buffers;

namespace ringfort::uring::soft {

io_uring_buf& BufferGroups::Group::at(std::uint16_t position) const noexcept {
    // Not through bufs[]: its declared length is zero, which the sanitizer takes at its word.
    return reinterpret_cast<io_uring_buf*>(ring)[position & mask];
}

std::uint16_t BufferGroups::Group::count() const noexcept {
    const std::uint16_t tail = io_uring_smp_load_acquire(&ring->tail);
    return static_cast<std::uint16_t>(tail - head);
}

bool BufferGroups::Group::consume(std::size_t length) noexcept {
    while (length > 0) {
        io_uring_buf& buffer = at(head);
        const auto part = static_cast<std::uint32_t>(std::min<std::size_t>(length, buffer.len));
        if (part < buffer.len || part == 0) {  // a length of 0 is a broken entry: go no further
            buffer.addr += part;
            buffer.len -= part;
            return false;
        }
        buffer.len = 0;
        ++head;
        length -= part;
    }
    return true;
}

int BufferGroups::add(std::uint16_t group, io_uring_buf_ring& ring, unsigned entries,
                      BufferUse use) {
    if (!std::has_single_bit(entries) || entries > limits::max_receive_buffers) return -EINVAL;
    if (groups_.size() <= group) groups_.resize(std::size_t{group} + 1);
    if (groups_[group].ring != nullptr) return -EEXIST;
    groups_[group] = {&ring, 0, static_cast<std::uint16_t>(entries - 1), use};
    return 0;
}

int BufferGroups::remove(std::uint16_t group) noexcept {
    if (find(group) == nullptr) return -ENOENT;
    groups_[group] = {};
    return 0;
}

const BufferGroups::Group* BufferGroups::find(std::uint16_t group) const noexcept {
    const bool known = group < groups_.size() && groups_[group].ring != nullptr;
    return known ? &groups_[group] : nullptr;
}

bool BufferGroups::available(std::uint16_t group) const noexcept {
    const Group* found = find(group);
    return found != nullptr && found->count() > 0;
}

bool BufferGroups::incremental(std::uint16_t group) const noexcept {
    const Group* found = find(group);
    return found != nullptr && found->use == BufferUse::incremental;
}

std::size_t BufferGroups::peek(std::uint16_t group, std::size_t limit, std::size_t most,
                               std::vector<iovec>& parts) noexcept {
    const Group* found = find(group);
    if (found == nullptr) return 0;
    const std::size_t count = std::min<std::size_t>(found->count(), most);
    std::size_t total = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const io_uring_buf& buffer = found->at(static_cast<std::uint16_t>(found->head + i));
        const std::size_t length =
            limit > 0 ? std::min<std::size_t>(buffer.len, limit - total) : buffer.len;
        parts.push_back(
            {reinterpret_cast<void*>(static_cast<std::uintptr_t>(buffer.addr)), length});
        total += length;
        if (limit > 0 && total == limit) break;
    }
    return total;
}

std::uint32_t BufferGroups::commit(std::uint16_t group, std::size_t length,
                                   unsigned count) noexcept {
    Group& used = groups_[group];
    const std::uint32_t id = used.at(used.head).bid;
    std::uint32_t flags = IORING_CQE_F_BUFFER | id << IORING_CQE_BUFFER_SHIFT;
    if (used.use == BufferUse::whole) {
        used.head = static_cast<std::uint16_t>(used.head + count);
        exhausted_ = used.count() == 0;
    } else {
        const bool whole = used.consume(length);
        if (!whole) flags |= IORING_CQE_F_BUF_MORE;
        exhausted_ = used.count() <= (whole ? 0 : 1);
    }
    return flags;
}

}  // namespace ringfort::uring::soft
