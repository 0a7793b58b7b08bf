module;
#include <algorithm>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <system_error>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {

bool roll_back(const Geometry& geometry) noexcept {
    Journal& journal = geometry.journal();
    const Word state = get(journal.state);
    const Word count = Journal::count_of(state);
    const Word number = Journal::number_of(state);
    bool sound = count <= journal.entries.size();
    for (Word left = std::min<Word>(count, journal.entries.size()); left > 0; --left) {
        const JournalEntry& entry = journal.entries[left - 1];
        const Word where = get(entry.where);
        const Offset offset = where & Journal::offsets;
        if ((where ^ number << Journal::where_shift) > Journal::offsets ||
            offset < geometry.roots || offset > geometry.books_end - sizeof(Word) ||
            offset % sizeof(Word) != 0)
            sound = false;
        else
            put(geometry.at<Word>(offset), get(entry.old));
    }
    // Before the journal is emptied: killed here, the pool must not pass for sound.
    if (!sound) quarantine(geometry);
    publish(journal.state, Journal::empty_after(number));
    return sound;
}

namespace {

template <class T>
void copy_one(std::byte* to, const std::byte* from) noexcept {
    T value;
    std::memcpy(&value, from, sizeof value);
    std::atomic_ref<T>{*reinterpret_cast<T*>(to)}.store(value, std::memory_order_relaxed);
}

// Word by word, as it is read (`copy_out`) by those who look without the lock, and whose block it
// may still have been when they began: to the language memcpy(3) would be a race with them.
// Relaxed: what they have read holds only if nothing has changed since, which other words say.
void copy_in(std::byte* to, std::span<const std::byte> source) noexcept {
    std::size_t done = 0;
    if (reinterpret_cast<std::uintptr_t>(to) % sizeof(Word) == 0)
        for (; done + sizeof(Word) <= source.size(); done += sizeof(Word))
            copy_one<Word>(to + done, source.data() + done);
    for (; done < source.size(); ++done) copy_one<std::uint8_t>(to + done, source.data() + done);
}

}  // namespace

void quarantine(const Geometry& geometry) noexcept {
    put(geometry.journal().quarantined, 1);
}

void Transaction::write(Offset offset, std::span<const std::byte> source) noexcept {
    if (source.empty()) return;
    if (!inside(offset, source.size())) {
        broken_ = true;
        return;
    }
    ensure_own(offset, source.size());
#ifdef RINGFORT_SHM_STEPS
    // A kill may cut a copy anywhere.
    const std::size_t half = source.size() / 2;
    step();
    copy_in(geometry_->base + offset, source.first(half));
    step();
    copy_in(geometry_->base + offset + half, source.subspan(half));
#else
    copy_in(geometry_->base + offset, source);
#endif
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

Word Transaction::before(const Word& word) const noexcept {
    const Word where = number_ << Journal::where_shift | offset_of(word);
    const Journal& journal = geometry_->journal();
    for (std::uint32_t n = 0; n < count_; ++n)
        if (get(journal.entries[n].where) == where) return get(journal.entries[n].old);
    return get(word);
}

bool Transaction::freed(Offset block) const noexcept {
    return std::find(freed_.begin(), freed_.begin() + frees_, block) != freed_.begin() + frees_;
}

Offset Transaction::allocate(std::uint64_t size) noexcept {
    const Offset block = Slab{*this}.allocate(size);
    if (block != 0) claim(block, size);
    return block;
}

Result<void> Transaction::free(Offset block) noexcept {
    if (freed(block))
        return Error{"free a block: it is free", std::errc::no_such_device_or_address};
    RF_TRY(Slab{*this}.freeable(block));
    if (frees_ == freed_.size())
        full_ = true;
    else
        freed_[frees_++] = block;
    return {};
}

// Just before the end, when nothing is allocated any more: what this transaction has written is in
// blocks that were free before it, and what it gives back is as it was until it has happened.
void Transaction::free_all() noexcept {
    for (std::uint32_t n = 0; n < frees_ && !failed(); ++n) Slab{*this}.free(freed_[n]);
}

void Transaction::release(Offset block) noexcept {
    if (!free(block)) fail();
}

std::uint64_t Transaction::size_of(Offset block) noexcept {
    return freed(block) ? 0 : Slab{*this}.size_of(block);
}

void Transaction::wake_after(Word& word) noexcept {
    std::uint32_t* const half = low_half(word);
    if (std::find(woken_.begin(), woken_.begin() + wakes_, half) != woken_.begin() + wakes_) return;
    ensure(wakes_ < woken_.size(), "a transaction that wakes for more than there is in a pool");
    woken_[wakes_++] = half;
}

// Without the lock, which those who are woken ask for. Killed before it, the burial wakes them.
void Transaction::wake_all() const noexcept {
    for (std::uint32_t n = 0; n < wakes_; ++n) {
        step();
        shm::wake(woken_[n], INT_MAX);
    }
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
