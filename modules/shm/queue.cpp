module;
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {

// The ring follows. Positions count the bytes since the beginning, and never turn back.
struct Queue::Header {
    Word capacity;
    Word head;  // of the first message
    Word tail;  // behind the last one
    // Slept on: how often somebody was woken << 1 | whether anybody may sleep. By those who want a
    // message, and by those who want room.
    Word pushed;
    Word popped;
    Word reserved;
};

namespace {

constexpr Word queue_tag = 0x322f'6575'7166'7220;  // " rfque/2"

constexpr std::uint64_t space_of(std::uint64_t message) {
    return sizeof(Word) + aligned_to_words(message);
}

constexpr Word asleep = 1;

// Who sleeps has said so under the lock, as has whoever looks, so that one of them sees the other.
// Through the journal: rolled back, they are said to sleep again, for the next one to wake them.
void wake_who_sleeps(Transaction& transaction, Word& word) noexcept {
    const Word found = get(word);
    if ((found & asleep) == 0) return;
    transaction.set(word, found + 1);
    transaction.wake_after(word);
}

QueueWait wait_for(Transaction& transaction, Word& word) noexcept {
    const Word found = get(word);
    if ((found & asleep) == 0) transaction.set(word, found | asleep);
    return {low_half(word), static_cast<std::uint32_t>(found | asleep)};
}

}  // namespace

Result<Queue> Queue::obtain(const Pool& pool, std::uint32_t number, Bytes capacity, Obtain how) {
    return shm::obtain<Queue>(
        pool, number, queue_tag, how,
        [&](Transaction& transaction) -> Result<Queue> {
            if (capacity.count == 0 || capacity > limits::max_zone_size)
                return Error{"make a queue: capacity", std::errc::invalid_argument};
            const std::uint64_t bytes = aligned_to_words(capacity.count);
            const Offset at = transaction.allocate(sizeof(Header) + bytes);
            if (at == 0) return Error{"make a queue", std::errc::not_enough_memory};
            Header& made = transaction.at<Header>(at);
            transaction.init(made.capacity, bytes);
            transaction.init(made.head, 0);
            transaction.init(made.tail, 0);
            transaction.init(made.pushed, 0);
            transaction.init(made.popped, 0);
            pool.set_root(transaction, number, queue_tag, at);
            return Queue{pool, at, bytes};
        },
        [&](Transaction& transaction, Offset at) -> Result<Queue> {
            return found(pool, transaction, at);
        });
}

Queue Queue::found(const Pool& pool, Transaction& transaction, Offset at) noexcept {
    const Word capacity = get(transaction.at<Header>(at).capacity);
    if (capacity == 0 || capacity % sizeof(Word) != 0 ||
        transaction.bytes(at + sizeof(Header), capacity).empty())
        transaction.fail();
    return {pool, at, capacity};
}

Result<Queue> Queue::create(const Pool& pool, std::uint32_t number, Bytes capacity) {
    return obtain(pool, number, capacity, Obtain::make);
}

Result<Queue> Queue::open(const Pool& pool, std::uint32_t number) {
    return obtain(pool, number, {}, Obtain::open);
}

Result<Queue> Queue::open_or_create(const Pool& pool, std::uint32_t number, Bytes capacity) {
    return obtain(pool, number, capacity, Obtain::either);
}

Queue::Header& Queue::header(Transaction& transaction) const noexcept {
    return transaction.at<Header>(header_);
}

Offset Queue::at(std::uint64_t position) const noexcept {
    return header_ + sizeof(Header) + position % capacity_;
}

std::uint64_t Queue::between(Transaction& transaction, Word head, Word tail) const noexcept {
    const std::uint64_t bytes = tail - head;
    if (bytes <= capacity_ && tail % sizeof(Word) == 0 && bytes % sizeof(Word) == 0) return bytes;
    transaction.fail();
    return 0;
}

std::uint64_t Queue::taken(Transaction& transaction) const noexcept {
    const Header& found = header(transaction);
    return between(transaction, get(found.head), get(found.tail));
}

// Messages that this transaction has taken stay where they are: rolled back, they are wanted again.
Result<void> Queue::push(Transaction& transaction, ByteView message) const noexcept {
    if (message.size() > capacity_ || space_of(message.size()) > capacity_)
        return Error{"put into a queue", std::errc::message_size};
    const std::uint64_t space = space_of(message.size());
    Header& found = header(transaction);
    const Word head = transaction.before(found.head);
    if (capacity_ - between(transaction, head, get(found.tail)) < space)
        return Error{"put into a queue", std::errc::no_buffer_space};
    const std::uint64_t tail = get(found.tail);
    // Behind the tail nobody reads, so only the tail needs the journal.
    transaction.claim(header_ + sizeof(Header), capacity_);
    transaction.init(transaction.at<Word>(at(tail)), message.size());
    const std::uint64_t begin = tail + sizeof(Word);
    const std::size_t first =
        std::min<std::uint64_t>(message.size(), capacity_ - begin % capacity_);
    transaction.write(at(begin), message.first(first));
    transaction.write(at(begin + first), message.subspan(first));
    transaction.set(found.tail, tail + space);
    wake_who_sleeps(transaction, found.pushed);
    return {};
}

std::optional<std::vector<std::byte>> Queue::pop(Transaction& transaction) const {
    const std::uint64_t bytes = taken(transaction);
    if (bytes == 0) return std::nullopt;
    Header& found = header(transaction);
    const std::uint64_t head = get(found.head);
    const Word size = get(transaction.at<Word>(at(head)));
    if (size > bytes || space_of(size) > bytes) {
        transaction.fail();
        return std::nullopt;
    }
    const std::uint64_t begin = head + sizeof(Word);
    const std::uint64_t first = std::min<std::uint64_t>(size, capacity_ - begin % capacity_);
    const ByteView front = transaction.bytes(at(begin), first);
    const ByteView back = transaction.bytes(at(begin + first), size - first);
    std::vector<std::byte> message{front.begin(), front.end()};
    message.insert(message.end(), back.begin(), back.end());
    transaction.set(found.head, head + space_of(size));
    wake_who_sleeps(transaction, found.popped);
    return message;
}

Result<void> Queue::push(ByteView message) const {
    return transact(pool_, [&](Transaction& transaction) { return push(transaction, message); });
}

Result<std::optional<std::vector<std::byte>>> Queue::pop() const {
    return transact(pool_,
                    [&](Transaction& transaction) -> Result<std::optional<std::vector<std::byte>>> {
                        return pop(transaction);
                    });
}

QueueWait Queue::wait_for_message(Transaction& transaction) const noexcept {
    return wait_for(transaction, header(transaction).pushed);
}

QueueWait Queue::wait_for_room(Transaction& transaction) const noexcept {
    return wait_for(transaction, header(transaction).popped);
}

namespace {

// Tries until it has done something, and sleeps in between on what `attempt` says: nothing at the
// last attempt, after which nobody sleeps.
template <class Attempt>
Result<void> try_for(const Pool& pool, Milliseconds limit, Error late, Attempt attempt) {
    const Instant end = wait_clock() + limit;
    for (;;) {
        const auto left = end - wait_clock();
        const bool last = left <= Instant::duration::zero();
        RF_LET(Transaction transaction, pool.begin());
        RF_LET(const std::optional<QueueWait> next, attempt(transaction, last));
        RF_TRY(transaction.commit());
        if (!next) return {};
        if (last) return late;
        shm::wait(next->word, next->expected, std::min<Instant::duration>(left, Queue::bound));
    }
}

}  // namespace

Result<void> Queue::push_for(ByteView message, Milliseconds limit) const {
    const Error late{"put into a queue", std::errc::timed_out};
    return try_for(pool_, limit, late,
                   [&](Transaction& transaction, bool last) -> Result<std::optional<QueueWait>> {
                       const Result<void> done = push(transaction, message);
                       if (done) return std::optional<QueueWait>{};
                       if (!done.error().is(std::errc::no_buffer_space)) return done.error();
                       return std::optional{last ? QueueWait{} : wait_for_room(transaction)};
                   });
}

Result<std::vector<std::byte>> Queue::pop_for(Milliseconds limit) const {
    const Error late{"take from a queue", std::errc::timed_out};
    std::optional<std::vector<std::byte>> message;
    RF_TRY(try_for(pool_, limit, late,
                   [&](Transaction& transaction, bool last) -> Result<std::optional<QueueWait>> {
                       message = pop(transaction);
                       if (message) return std::optional<QueueWait>{};
                       return std::optional{last ? QueueWait{} : wait_for_message(transaction)};
                   }));
    return *std::move(message);
}

// After a burial: the dead one may have been about to wake them.
void Queue::wake_sleepers(const Pool& pool, Transaction& transaction,
                          std::uint32_t number) noexcept {
    const Result<Offset> at = pool.root(transaction, number, queue_tag);
    if (!at || *at == 0) return;
    Header& header = found(pool, transaction, *at).header(transaction);
    for (Word* word : {&header.pushed, &header.popped}) {
        // Of one who is just going to sleep nothing is to be seen but the word that it expects.
        transaction.set(*word, (get(*word) | asleep) + 1);
        transaction.wake_after(*word);
    }
}

Result<Bytes> Queue::used() const {
    return transact(pool_, [&](Transaction& transaction) -> Result<Bytes> {
        return Bytes{taken(transaction)};
    });
}

}  // namespace ringfort::shm
