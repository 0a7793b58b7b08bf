module;
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>
export module ringfort.shm:queue;

import ringfort.base;
import :journal;
import :map;
import :pool;
import :word;

export namespace ringfort::shm {

/// A queue of messages, any bytes each, from any workers to any workers: a ring in a block of a
/// pool. Each message is taken once, in the order in which they were put in. One that is taken by a
/// worker that then dies is gone: who must not lose it does its work in the transaction that takes
/// it.
///
/// A view: valid as long as the pool it was made or opened with. Cheap to copy.
class Queue {
public:
    /// Makes an empty queue as structure `number`, for `capacity` bytes of messages; each takes its
    /// length, rounded up to 8, and 8 more. Errors: EEXIST if there is one already; EINVAL for a
    /// number not below `limits::pool_roots`, or a capacity of 0 or over `limits::max_zone_size`;
    /// ENOMEM; those of `Pool::begin`.
    [[nodiscard]] static Result<Queue> create(const Pool& pool, std::uint32_t number,
                                              Bytes capacity);
    /// Opens the queue that is structure `number`. Errors: ENOENT if there is none; EPROTO if it is
    /// something else; EBADMSG if it is corrupted; those of `Pool::begin`.
    [[nodiscard]] static Result<Queue> open(const Pool& pool, std::uint32_t number);
    /// Opens the queue that is structure `number`, or makes it if there is none, as
    /// `Map::open_or_create`. One that is there keeps its capacity.
    [[nodiscard]] static Result<Queue> open_or_create(const Pool& pool, std::uint32_t number,
                                                      Bytes capacity);

    /// Puts a message at the end. Errors: ENOBUFS if there is no room; EMSGSIZE if there never will
    /// be; those of `Pool::begin`.
    [[nodiscard]] Result<void> push(ByteView message) const;
    /// Takes the message at the front, if there is one. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<std::optional<std::vector<std::byte>>> pop() const;

    /// As the functions above, within a larger transaction: the room of messages that it has taken
    /// is none until it is committed.
    [[nodiscard]] Result<void> push(Transaction& transaction, ByteView message) const noexcept;
    [[nodiscard]] std::optional<std::vector<std::byte>> pop(Transaction& transaction) const;

    /// Returns how many bytes are taken, see `create`. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<Bytes> used() const;
    /// Returns how many there are.
    [[nodiscard]] Bytes capacity() const noexcept { return {capacity_}; }

private:
    struct Header;

    Queue(const Pool& pool, Offset header, std::uint64_t capacity) noexcept
        : pool_{pool}, header_{header}, capacity_{capacity} {}

    [[nodiscard]] static Result<Queue> obtain(const Pool& pool, std::uint32_t number,
                                              Bytes capacity, Obtain how);

    [[nodiscard]] Header& header(Transaction& transaction) const noexcept;
    [[nodiscard]] Offset at(std::uint64_t position) const noexcept;
    [[nodiscard]] std::uint64_t between(Transaction& transaction, Word head,
                                        Word tail) const noexcept;
    [[nodiscard]] std::uint64_t taken(Transaction& transaction) const noexcept;

    Pool pool_;
    Offset header_;
    std::uint64_t capacity_;
};

}  // namespace ringfort::shm
