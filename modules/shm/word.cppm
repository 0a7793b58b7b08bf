export module ringfort.shm:word;

import ringfort.std;

export namespace ringfort::shm {

/// The unit in which structures in zones are changed: aligned, so that no store of it is torn.
using Word = std::uint64_t;

/// A place in a zone: bytes from the beginning of its payload, the same in every process. 0, where
/// a header is, means none.
using Offset = std::uint64_t;

/// What can be kept in a zone as its bytes: any bytes of the size are a value of it, and one means
/// the same to every process. Of a struct the compiler cannot tell: whose members are pointers,
/// bool or enumerations is not to be kept.
template <class T>
concept Storable =
    std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_member_pointer_v<T> &&
    !std::is_null_pointer_v<T> && !std::is_enum_v<T> && !std::same_as<T, bool>;

/// Reads a word of a zone, whole. Relaxed: who reads has the lock, or has acquired what says that
/// the word is to be read, or finds out afterwards whether it was (`Glance`).
[[nodiscard]] inline Word get(const Word& word) noexcept {
    return std::atomic_ref<Word>{const_cast<Word&>(word)}.load(std::memory_order_relaxed);
}

#ifdef RINGFORT_SHM_STEPS
/// For tests alone: `hook` is called before every store into a zone, which is where a kill may
/// come. Null: none.
void set_step_hook(void (*hook)()) noexcept;
#endif

}  // namespace ringfort::shm

namespace ringfort::shm {

#ifdef RINGFORT_SHM_STEPS
void step() noexcept;
#else
inline void step() noexcept {}
#endif

// Stores a word so that the process may be killed before or after, never within, and so that the
// compiler moves no other store across: recovery sees a prefix of these stores, in program order.
// Relaxed: others see it by the release of the lock, or of a later `publish`.
inline void put(Word& word, Word value) noexcept {
    step();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    std::atomic_ref<Word>{word}.store(value, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

// As `put`, for a word that tells others, who take no lock, that the stores before it are theirs.
inline void publish(Word& word, Word value) noexcept {
    step();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    std::atomic_ref<Word>{word}.store(value, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Rounds a number of bytes up to whole words.
constexpr std::uint64_t aligned_to_words(std::uint64_t bytes) noexcept {
    return (bytes + sizeof(Word) - 1) / sizeof(Word) * sizeof(Word);
}

// The half of a word that futex(2) looks at, which knows 32 bits alone. A store of the whole word
// is one of this half.
inline std::uint32_t* low_half(Word& word) noexcept {
    static_assert(std::endian::native == std::endian::little);
    return reinterpret_cast<std::uint32_t*>(&word);
}

// Counts for statistics: by whoever holds the lock, without a journal. A kill loses one at most.
inline void count_up(Word& word) noexcept {
    put(word, get(word) + 1);
}

}  // namespace ringfort::shm
