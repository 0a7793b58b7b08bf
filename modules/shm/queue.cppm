export module ringfort.shm:queue;

import ringfort.base;
import ringfort.std;
import :journal;
import :map;
import :pool;
import :word;

export namespace ringfort::shm {

/// What somebody who waits for a `Queue` sleeps on, with futex(2) or by a ring: `word`, as long as
/// it is `expected`.
struct QueueWait {
    std::uint32_t* word = nullptr;
    std::uint32_t expected = 0;
};

/// A queue of messages, any bytes each, from any workers to any workers: a ring in a block of a
/// pool. Each message is taken once, in the order in which they were put in. One that is taken by a
/// worker that then dies is gone: who must not lose it does its work in the transaction that takes
/// it.
///
/// Who finds nothing to take, or no room, can sleep until there may be. A message wakes all who
/// sleep for one, and what one of them leaves the others sleep on for. As long as nobody sleeps no
/// system call is made. A worker that is killed between its change and the wake-up keeps nobody
/// asleep: its burial wakes all (`Healer`), and without a master `bound` ends each sleep.
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

    /// As the functions above, but wait for room, or a message, for up to `wait`, and longer for
    /// the pool's lock; blocks. Error besides: ETIMEDOUT.
    [[nodiscard]] Result<void> push_for(ByteView message, Milliseconds wait) const;
    [[nodiscard]] Result<std::vector<std::byte>> pop_for(Milliseconds wait) const;

    /// As the functions without `wait`, within a larger transaction: the room of messages that it
    /// has taken is none until it is committed.
    [[nodiscard]] Result<void> push(Transaction& transaction, ByteView message) const noexcept;
    [[nodiscard]] std::optional<std::vector<std::byte>> pop(Transaction& transaction) const;

    /// Note that somebody is going to wait, until there is another message than those that the
    /// transaction has found, or more room; return for what. To be committed before the wait, which
    /// is to be no longer than `bound`, and after which everything is looked at anew:
    ///
    ///     for (;;) {
    ///         RF_LET(Transaction transaction, pool.begin());
    ///         const auto message = queue.pop(transaction);
    ///         const auto wait = message ? QueueWait{} : queue.wait_for_message(transaction);
    ///         RF_TRY(transaction.commit());
    ///         if (message) return *message;
    ///         // wait until *wait.word is woken, unless it is wait.expected no more
    ///     }
    ///
    /// Who gives up calls nothing: it costs the next message a wake-up in vain.
    [[nodiscard]] QueueWait wait_for_message(Transaction& transaction) const noexcept;
    [[nodiscard]] QueueWait wait_for_room(Transaction& transaction) const noexcept;
    /// The longest single wait.
    static constexpr Milliseconds bound = limits::queue_check_ms;

    /// Returns the pool that it is in.
    [[nodiscard]] const Pool& pool() const noexcept { return pool_; }
    /// Returns how many bytes are taken, see `create`. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<Bytes> used() const;
    /// Returns how many there are.
    [[nodiscard]] Bytes capacity() const noexcept { return {capacity_}; }

private:
    friend class Healer;
    struct Header;

    Queue(const Pool& pool, Offset header, std::uint64_t capacity) noexcept
        : pool_{pool}, header_{header}, capacity_{capacity} {}

    [[nodiscard]] static Result<Queue> obtain(const Pool& pool, std::uint32_t number,
                                              Bytes capacity, Obtain how);
    [[nodiscard]] static Queue found(const Pool& pool, Transaction& transaction,
                                     Offset at) noexcept;
    static void wake_sleepers(const Pool& pool, Transaction& transaction,
                              std::uint32_t number) noexcept;

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
