module;
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

constexpr Word seq_tag = 0x312f'7165'7366'7220;  // " rfseq/1"

std::uint64_t bytes_for(std::size_t words, std::size_t first) {
    return (first + 2 * words) * sizeof(Word);
}

}  // namespace

Result<SeqWords> SeqWords::obtain(const Pool& pool, std::uint32_t number,
                                  std::span<const Word> initial, std::size_t words, Obtain how) {
    return shm::obtain<SeqWords>(
        pool, number, seq_tag, how,
        [&](Transaction& transaction) -> Result<SeqWords> {
            const Offset at = transaction.allocate(bytes_for(words, first_copy));
            if (at == 0) return Error{"make a value", std::errc::not_enough_memory};
            const SeqWords made{pool, at, words};
            transaction.init(made.word(0), 0);
            transaction.init(made.word(1), words);
            for (std::size_t n = 0; n < words; ++n)
                transaction.init(made.copy_word(0, n), initial[n]);
            pool.set_root(transaction, number, seq_tag, at);
            return made;
        },
        [&](Transaction& transaction, Offset at) -> Result<SeqWords> {
            const SeqWords found{pool, at, words};
            if (at % sizeof(Word) != 0 ||
                transaction.bytes(at, bytes_for(words, first_copy)).empty()) {
                transaction.fail();
                return found;
            }
            if (get(found.word(1)) != words)
                return Error{"open a value: its size", std::errc::protocol_error};
            return found;
        });
}

Result<SeqWords> SeqWords::create(const Pool& pool, std::uint32_t number,
                                  std::span<const Word> initial) {
    return obtain(pool, number, initial, initial.size(), Obtain::make);
}

Result<SeqWords> SeqWords::open(const Pool& pool, std::uint32_t number, std::size_t words) {
    return obtain(pool, number, {}, words, Obtain::open);
}

Result<SeqWords> SeqWords::open_or_create(const Pool& pool, std::uint32_t number,
                                          std::span<const Word> initial) {
    return obtain(pool, number, initial, initial.size(), Obtain::either);
}

// Acquire, against the release of `store`: the copy that a version selects is whole.
Word SeqWords::version() const noexcept {
    return std::atomic_ref<Word>{word(0)}.load(std::memory_order_acquire);
}

// The offset was checked when the value was made or opened.
Word& SeqWords::word(std::size_t number) const noexcept {
    return pool_.geometry_.at<Word>(at_ + number * sizeof(Word));
}

Result<void> SeqWords::store(std::span<const Word> value) const {
    ensure(value.size() == words_, "a value of another size than it was made with");
    RF_LET(Transaction transaction, pool_.begin());
    const Word next = get(word(0)) + 1;
    // A reader that sees a word of the next but one version sees this one, at least, when it looks
    // at the version again, and does not believe what it has read: the version was stored before,
    // by whoever had the lock, and this fence is the other end of the one in `load`.
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t n = 0; n < words_; ++n) put(copy_word(next, n), value[n]);
    step();
    std::atomic_ref<Word>{word(0)}.store(next, std::memory_order_release);
    return transaction.commit();
}

void SeqWords::read(Word version, std::span<Word> value) const noexcept {
    for (std::size_t n = 0; n < words_; ++n) value[n] = get(copy_word(version, n));
}

Result<Word> SeqWords::load(std::span<Word> value) const noexcept {
    ensure(value.size() == words_, "a value of another size than it was made with");
    for (std::uint32_t attempt = 0; attempt < limits::seq_attempts; ++attempt) {
        const Word before = version();
        read(before, value);
        // The other end of the fence in `store`.
        std::atomic_thread_fence(std::memory_order_acquire);
        if (get(word(0)) == before) return before;
    }
    RF_LET(Transaction transaction, pool_.begin());
    const Word held = version();
    read(held, value);
    RF_TRY(transaction.commit());
    return held;
}

}  // namespace ringfort::shm
