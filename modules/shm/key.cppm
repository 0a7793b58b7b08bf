export module ringfort.shm:key;

import ringfort.std;
import :word;

// Keys of maps: bytes of the caller's, compared with words of a zone. Most are short, so what is
// asked of them is asked in words, and no function is called for it. Nothing of it is exported.
namespace ringfort::shm {

using KeyBytes = std::span<const std::byte>;

static_assert(std::endian::native == std::endian::little);

template <class T>
[[nodiscard]] inline Word load(KeyBytes bytes, std::size_t at) noexcept {
    T loaded{};
    std::memcpy(&loaded, bytes.data() + at, sizeof loaded);
    return loaded;
}

// The bytes behind the last whole word of a key that does not end with one.
[[nodiscard]] inline Word tail_of(KeyBytes key) noexcept {
    const std::size_t size = key.size();
    if (size > sizeof(Word)) return load<Word>(key, size - sizeof(Word)) >> (64 - size % 8 * 8);
    if (size >= 4)
        return load<std::uint32_t>(key, 0) | load<std::uint32_t>(key, size - 4) << (size - 4) * 8;
    return load<std::uint8_t>(key, 0) | load<std::uint8_t>(key, size / 2) << size / 2 * 8 |
           load<std::uint8_t>(key, size - 1) << (size - 1) * 8;
}

// Reports whether words of a zone begin with the bytes of a key; what is behind them in the last
// one may be anything.
[[nodiscard]] inline bool begin_with(const Word* words, KeyBytes key) noexcept {
    std::size_t at = 0;
    for (; at + sizeof(Word) <= key.size(); at += sizeof(Word))
        if (get(*words++) != load<Word>(key, at)) return false;
    if (at == key.size()) return true;
    return (get(*words) & ((Word{1} << key.size() % 8 * 8) - 1)) == tail_of(key);
}

// Multiplies to 128 bits and folds: each bit of the result depends on all of both.
[[nodiscard]] inline Word fold(Word left, Word right) noexcept {
    const auto product = static_cast<unsigned __int128>(left) * right;
    return static_cast<Word>(product) ^ static_cast<Word>(product >> 64);
}

// Seeded at random for each map, so that nobody can prepare keys that share a bucket without having
// seen the zone: both factors have something of the seed. Not a cryptographic hash. Source: Wang
// Yi, "wyhash", for two words a multiplication.
[[nodiscard]] inline Word hash_of(KeyBytes key, Word seed) noexcept {
    Word hash = seed ^ key.size() * 0x9e37'79b9'7f4a'7c15;
    const Word other = std::rotl(seed, 32) ^ 0xd6e8'feb8'6659'fd93;
    std::size_t at = 0;
    for (; key.size() - at > 2 * sizeof(Word); at += 2 * sizeof(Word))
        hash = fold(hash ^ load<Word>(key, at), other ^ load<Word>(key, at + sizeof(Word)));
    const std::size_t left = key.size() - at;
    Word first = 0;
    Word second = 0;
    if (left >= sizeof(Word)) {
        first = load<Word>(key, at);
        if (left == 2 * sizeof(Word))
            second = load<Word>(key, at + sizeof(Word));
        else if (left > sizeof(Word))
            second = tail_of(key);
    } else if (left != 0) {
        first = tail_of(key);
    }
    return fold(fold(hash ^ first, other ^ second), 0xa5cb'9243'f6a1'0de5);
}

}  // namespace ringfort::shm
