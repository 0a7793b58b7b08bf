module;
#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {

// Behind it, one cache line for each row: how many readers its owner has, with the owner's epoch.
struct SharedLock::Cell {
    LockCell writer;
    std::uint32_t left;  // changes when readers leave while a writer waits for it
    std::uint32_t reserved;
    Word rows;
    Word dirty;  // not 0: a writer died, and nobody has put right what it left
    Word unused[2];
};

namespace {

constexpr Word shared_tag = 0x312f'6b6c'7366'7220;  // " rfslk/1"
constexpr std::size_t line = 64;

// Sleeps between the attempts of a waiter, for up to `limit`.
template <class Taken, class Waiter>
Result<Taken> wait_for(Waiter& waiter, Milliseconds limit, Error late) {
    RF_TRY(waiter.attempt());
    if (std::optional<Taken> guard = waiter.taken()) return *std::move(guard);
    const Instant end = wait_clock() + limit;
    for (;;) {
        const auto left = end - wait_clock();
        const bool last = left <= Instant::duration::zero();
        if (last || wait(waiter.word(), waiter.expected(),
                         std::min<Instant::duration>(left, LockWaiter::bound)))
            waiter.woken();
        RF_TRY(waiter.attempt());
        if (std::optional<Taken> guard = waiter.taken()) return *std::move(guard);
        if (last) return late;
    }
}

}  // namespace

SharedLock::SharedLock(const Pool& pool, Offset at) noexcept
    : pool_{pool},
      at_{at},
      writer_{pool.geometry_.at<Cell>(at).writer, pool.owners(), pool.self(), INT_MAX} {
    static_assert(sizeof(Cell) == line);
}

std::uint64_t SharedLock::bytes_for(const Pool& pool) noexcept {
    return sizeof(Cell) + std::uint64_t{pool.geometry_.rows} * line;
}

Result<SharedLock> SharedLock::obtain(const Pool& pool, std::uint32_t number, Obtain how) {
    const std::uint64_t bytes = bytes_for(pool);
    return shm::obtain<SharedLock>(
        pool, number, shared_tag, how,
        [&](Transaction& transaction) -> Result<SharedLock> {
            const Offset at = transaction.allocate(bytes);
            if (at == 0) return Error{"make a shared lock", std::errc::not_enough_memory};
            for (std::uint64_t word = 0; word < bytes; word += sizeof(Word))
                transaction.init(transaction.at<Word>(at + word), 0);
            transaction.init(pool.geometry_.at<Cell>(at).rows, pool.geometry_.rows);
            pool.set_root(transaction, number, shared_tag, at);
            return SharedLock{pool, at};
        },
        [&](Transaction& transaction, Offset at) { return found(pool, transaction, at); });
}

Result<SharedLock> SharedLock::found(const Pool& pool, Transaction& transaction,
                                     Offset at) noexcept {
    if (at % sizeof(Word) != 0 || transaction.bytes(at, bytes_for(pool)).empty() ||
        get(pool.geometry_.at<Cell>(at).rows) != pool.geometry_.rows) {
        transaction.fail();  // and no view of what may be anywhere
        return Error{"open a shared lock", std::errc::bad_message};
    }
    return SharedLock{pool, at};
}

// After a burial. As a writer that takes it over and repairs nothing: killed meanwhile, this one is
// a writer that died.
void SharedLock::release_dead(const Pool& pool, Transaction& transaction,
                              std::uint32_t number) noexcept {
    const Result<Offset> at = pool.root(transaction, number, shared_tag);
    if (!at || *at == 0) return;
    const Result<SharedLock> lock = found(pool, transaction, *at);
    if (!lock) return;
    const std::optional<std::uint32_t> row = lock->writer_.holder_row();
    if (!row) {  // who had it last may have died before it woke anybody
        wake(lock->writer_.word(), INT_MAX);
        return;
    }
    if (const std::optional<Guard> guard = lock->writer_.take_from_dead(*row))
        put(lock->cell().dirty, 1);
    else
        lock->wake_writer();  // it may wait for readers that have died
}

Result<SharedLock> SharedLock::create(const Pool& pool, std::uint32_t number) {
    return obtain(pool, number, Obtain::make);
}

Result<SharedLock> SharedLock::open(const Pool& pool, std::uint32_t number) {
    return obtain(pool, number, Obtain::open);
}

Result<SharedLock> SharedLock::open_or_create(const Pool& pool, std::uint32_t number) {
    return obtain(pool, number, Obtain::either);
}

SharedLock::Cell& SharedLock::cell() const noexcept {
    return pool_.geometry_.at<Cell>(at_);
}

Word& SharedLock::readers(std::uint32_t row) const noexcept {
    return pool_.geometry_.at<Word>(at_ + sizeof(Cell) + std::uint64_t{row} * line);
}

std::uint32_t SharedLock::own_count() const noexcept {
    const Word word = get(readers(pool_.self().row));
    return word >> 32 == pool_.self().epoch ? static_cast<std::uint32_t>(word) : 0;
}

// Owner and number in one store: whoever is killed has counted or not, and in its own name.
// Release, against the acquire of `reading`: a writer that sees that a reader has left changes
// nothing that this one was still to read.
void SharedLock::set_own_count(std::uint32_t count) const noexcept {
    step();
    std::atomic_ref<Word>{readers(pool_.self().row)}.store(Word{pool_.self().epoch} << 32 | count,
                                                           std::memory_order_release);
}

// The readers of one who is dead, or of the row's owner before, have gone.
bool SharedLock::reading(std::uint32_t row) const noexcept {
    const Word word = std::atomic_ref<Word>{readers(row)}.load(std::memory_order_acquire);
    return static_cast<std::uint32_t>(word) != 0 &&
           pool_.owners().alive({row, static_cast<std::uint32_t>(word >> 32)});
}

void WriteGuard::repaired() noexcept {
    if (dirty_ != nullptr) put(*dirty_, 0);
}

Result<void> WriteWaiter::attempt() {
    if (ready_) return {};
    if (!guard_) {
        if (lock_.own_count() != 0)
            return Error{"take a shared lock", std::errc::resource_deadlock_would_occur};
        RF_TRY(waiter_.attempt());
        std::optional<Guard> guard = waiter_.taken();
        word_ = lock_.writer_.word();
        expected_ = waiter_.expected();
        if (!guard) return {};
        // Noted in the cell, since this one may die or give up as well before anything is repaired.
        // Killed before it is noted, it is itself a writer that died.
        if (guard->recovered()) put(lock_.cell().dirty, 1);
        guard_.emplace(WriteGuard{*std::move(guard), lock_.cell().dirty});
        // Against the fence of readers: either they see that there is a writer, or it sees them.
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    // If the lock was a dead writer's, that one had not come further than this: while there is a
    // writer nobody begins to read, so whoever reads has done so since before it.
    word_ = &lock_.cell().left;
    for (; row_ < lock_.pool_.owners().rows(); ++row_) {
        expected_ = std::atomic_ref{*word_}.load(std::memory_order_acquire);
        if (lock_.reading(row_)) return {};
    }
    ready_ = true;
    return {};
}

std::optional<WriteGuard> WriteWaiter::taken() noexcept {
    if (!std::exchange(ready_, false)) return std::nullopt;
    std::optional<WriteGuard> taken{std::move(*guard_)};
    guard_.reset();
    row_ = 0;
    return taken;
}

Result<WriteGuard> SharedLock::lock(Milliseconds limit) const {
    WriteWaiter waiter{*this};
    return wait_for<WriteGuard>(waiter, limit, Error{"wait for readers", std::errc::timed_out});
}

// Fences, here and in a writer, between the store of what one is and the look at the other, which
// no weaker order keeps apart: the reader sees the writer, or the writer sees the reader. Acquire:
// who finds no writer sees what the last one has changed.
bool SharedLock::enter() const noexcept {
    set_own_count(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return (std::atomic_ref{cell().writer.word}.load(std::memory_order_acquire) & Lock::holder) ==
           0;
}

// With the same fence: either a writer sees that this one has left, or it is seen, and woken.
void SharedLock::leave() const noexcept {
    const std::uint32_t count = own_count();
    set_own_count(count == 0 ? 0 : count - 1);
    if (count > 1) return;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t word = std::atomic_ref{cell().writer.word}.load(std::memory_order_relaxed);
    if ((word & Lock::holder) != 0) wake_writer();
}

// Release, against the writer's acquire: who sees that readers have left sees that they have.
void SharedLock::wake_writer() const noexcept {
    step();
    std::atomic_ref{cell().left}.fetch_add(1, std::memory_order_release);
    step();
    wake(&cell().left, INT_MAX);
}

// A reader that has kept writers from the lock is in: now they may come again. Relaxed: flags.
void SharedLock::let_writers_on() const noexcept {
    step();
    const std::uint32_t word = std::atomic_ref{cell().writer.word}.fetch_and(
        ~(Lock::impatient | Lock::waiters), std::memory_order_relaxed);
    if ((word & Lock::waiters) != 0) wake(&cell().writer.word, INT_MAX);
}

Result<ReadGuard> SharedLock::lock_shared(Milliseconds limit) const {
    ReadWaiter waiter{*this};
    return wait_for<ReadGuard>(waiter, limit, Error{"wait for a writer", std::errc::timed_out});
}

std::uint32_t* ReadWaiter::word() const noexcept {
    return lock_.writer_.word();
}

Result<void> ReadWaiter::attempt() {
    if (ready_) return {};
    if (const std::uint32_t count = lock_.own_count(); count != 0) {
        lock_.set_own_count(count + 1);
        ready_ = true;
        return {};
    }
    for (;;) {
        if (lock_.enter()) {
            enough();
            RF_TRY(lock_.admitted());
            ready_ = true;
            return {};
        }
        lock_.leave();
        std::uint32_t found = std::atomic_ref{*word()}.load(std::memory_order_acquire);
        const std::uint32_t holder = found & Lock::holder;
        if (!lock_.writer_.possible(found))
            return Error{"take a shared lock: its word", std::errc::bad_message};
        if (holder == lock_.writer_.id_)
            return Error{"take a shared lock", std::errc::resource_deadlock_would_occur};
        if (holder == 0) continue;
        if (lock_.writer_.dead(found))
            return Error{"take a shared lock: a writer died", std::errc::owner_dead};
        if (!std::exchange(waited_, true)) begin_ = wait_clock();
        const bool impatient = wait_clock() - begin_ >= limits::lock_patience_us;
        expected_ = found | Lock::waiters | (impatient ? Lock::impatient : 0);
        step();
        if (!std::atomic_ref{*word()}.compare_exchange_strong(found, expected_,
                                                              std::memory_order_relaxed))
            continue;
        impatient_ = impatient_ || impatient;
        return {};
    }
}

// A reader that has kept writers from the lock is in, or has gone: now they may come again.
void ReadWaiter::enough() noexcept {
    if (std::exchange(impatient_, false)) lock_.let_writers_on();
}

ReadWaiter::~ReadWaiter() {
    static_cast<void>(taken());
    enough();
}

std::optional<ReadGuard> ReadWaiter::taken() noexcept {
    if (!std::exchange(ready_, false)) return std::nullopt;
    return ReadGuard{&lock_};
}

// Whoever comes in while there is no writer sees what the last one has noted before it let go.
Result<void> SharedLock::admitted() const {
    if (get(cell().dirty) == 0) return {};
    leave();
    return Error{"take a shared lock: a writer died", std::errc::owner_dead};
}

void ReadGuard::unlock() noexcept {
    if (lock_ != nullptr) std::exchange(lock_, nullptr)->leave();
}

}  // namespace ringfort::shm
