export module ringfort.shm:glance;

import ringfort.std;
import :journal;
import :layout;
import :owners;
import :word;

// Reading without the lock. Nothing of it is exported: structures offer it as a `get`.
namespace ringfort::shm {

// A look at a pool without its lock, which waits for nobody and writes nothing. Every change of
// what can be reached begins with an entry in the journal and ends with the number of the next
// transaction: if the journal's state is at the end what it was at the beginning, and empty, all
// that was read in between is what the last transaction has left. Otherwise it may be anything, and
// the look is to be begun anew, with the lock, say. So it is with all that needs the lock: an owner
// that died in the middle of a change, a pool that is quarantined, a caller that has been buried.
//
// Until `holds` says so nothing that was read is true: offsets are checked against the bounds, and
// loops ask at each turn. Only what is changed through the journal, or was before it could be
// reached, may be read: not the bytes that a `Queue` reuses. The Pool outlives it.
class Glance {
public:
    // Acquire, against the release of `publish` at the end of a change: all of it is to be seen.
    Glance(const Geometry& geometry, Owner self) noexcept
        : geometry_{&geometry},
          state_{std::atomic_ref<Word>{geometry.journal().state}.load(std::memory_order_acquire)},
          lost_{Journal::count_of(state_) != 0 || get(geometry.journal().quarantined) != 0 ||
                !geometry.owners()[self.row].is(self.epoch)} {}

    // Reports whether all that has been read until now was there at once. The fence is the other
    // end of the one in `Transaction::set`: who has read anything of a later change reads a later
    // state.
    [[nodiscard]] bool holds() const noexcept {
        step();
        std::atomic_thread_fence(std::memory_order_acquire);
        return !lost_ && get(geometry_->journal().state) == state_;
    }

    // Gives up, when something has been found that cannot be.
    void fail() noexcept { lost_ = true; }

    // Returns what lies at `offset`, in a block of the pool, to be read with `get`: zeros where
    // nothing can lie, and the look does not hold.
    template <Words T>
    [[nodiscard]] const T& at(Offset offset) noexcept {
        step();
        if (!inside(offset, sizeof(T)) || offset % alignof(T) != 0) [[unlikely]] {
            lost_ = true;
            return reinterpret_cast<const T&>(nothing);
        }
        return geometry_->at<T>(offset);
    }
    // Returns the words that hold so many bytes; null if they are not all in the pool.
    [[nodiscard]] const Word* words(Offset offset, std::uint64_t bytes) noexcept {
        step();
        if (bytes > geometry_->bytes || !inside(offset, aligned_to_words(bytes)) ||
            offset % alignof(Word) != 0) [[unlikely]] {
            lost_ = true;
            return nullptr;
        }
        return &geometry_->at<Word>(offset);
    }

private:
    alignas(16) static constexpr std::array<std::byte, 64> nothing{};

    [[nodiscard]] bool inside(Offset offset, std::uint64_t size) const noexcept {
        return offset >= geometry_->first_page && offset <= geometry_->end &&
               size <= geometry_->end - offset;
    }

    const Geometry* geometry_;
    Word state_;
    bool lost_;
};

// Copies bytes out of words that may be changing.
inline void copy_out(const Word* words, std::span<std::byte> to) noexcept {
    std::size_t at = 0;
    for (; at + sizeof(Word) <= to.size(); at += sizeof(Word)) {
        step();
        const Word word = get(*words++);
        std::memcpy(to.data() + at, &word, sizeof word);
    }
    if (at == to.size()) return;
    step();
    const Word word = get(*words);
    std::memcpy(to.data() + at, &word, to.size() - at);
}

}  // namespace ringfort::shm
