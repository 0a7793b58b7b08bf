module;
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <system_error>
module ringfort.shm;

namespace ringfort::shm {

bool roll_back(const Geometry& geometry) noexcept {
    Journal& journal = geometry.journal();
    const Word count = get(journal.count);
    bool sound = count <= journal.entries.size();
    for (Word left = std::min<Word>(count, journal.entries.size()); left > 0; --left) {
        const JournalEntry& entry = journal.entries[left - 1];
        const Offset offset = get(entry.offset);
        if (offset < geometry.roots || offset > geometry.end - sizeof(Word) ||
            offset % sizeof(Word) != 0)
            sound = false;
        else
            put(geometry.at<Word>(offset), get(entry.old));
    }
    // Before the journal is emptied: killed here, the pool must not pass for sound.
    if (!sound) quarantine(geometry);
    put(journal.count, 0);
    return sound;
}

void quarantine(const Geometry& geometry) noexcept {
    put(geometry.header().quarantined, 1);
}

void Transaction::write(Offset offset, std::span<const std::byte> source) noexcept {
    if (source.empty()) return;
    if (!inside(offset, source.size())) {
        broken_ = true;
        return;
    }
#ifdef RINGFORT_SHM_STEPS
    // A kill may cut a copy anywhere.
    const std::size_t half = source.size() / 2;
    step();
    std::memcpy(geometry_->base + offset, source.data(), half);
    step();
    std::memcpy(geometry_->base + offset + half, source.data() + half, source.size() - half);
#else
    std::memcpy(geometry_->base + offset, source.data(), source.size());
#endif
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

void Transaction::refuse() noexcept {
    (count_ == limits::journal_entries ? full_ : broken_) = true;
}

void Transaction::end_open() noexcept {
    if (failed()) return static_cast<void>(give_up());
    roll_back(*geometry_);
    open_ = false;
    guard_.unlock();
}

// What a transaction finds after its journal was full may come of that alone.
Result<void> Transaction::give_up() noexcept {
    if (!full_) quarantine(*geometry_);
    roll_back(*geometry_);
    open_ = false;
    guard_.unlock();
    if (full_) return Error{"change a pool: too many words", std::errc::no_buffer_space};
    return Error{"change a pool: it is corrupted", std::errc::bad_message};
}

}  // namespace ringfort::shm
