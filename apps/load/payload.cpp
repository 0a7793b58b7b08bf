module;
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>
module load;

namespace load {
namespace {

/// The finaliser of splitmix64: one to one, so different inputs give different keys.
std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

/// Combines `size` bytes of pattern with the key; the loop over whole words is vectorised.
void apply_key(const std::byte* pattern, std::uint64_t key, std::byte* out, std::size_t size) {
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, pattern + i, 8);
        word ^= key;
        std::memcpy(out + i, &word, 8);
    }
    for (unsigned bit = 0; i < size; ++i, bit += 8) {
        out[i] = pattern[i] ^ static_cast<std::byte>(key >> bit);
    }
}

bool equals_keyed(const std::byte* pattern, std::uint64_t key, const std::byte* got,
                  std::size_t size) {
    std::uint64_t difference = 0;
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        std::uint64_t word = 0;
        std::uint64_t other = 0;
        std::memcpy(&word, pattern + i, 8);
        std::memcpy(&other, got + i, 8);
        difference |= word ^ key ^ other;
    }
    for (unsigned bit = 0; i < size; ++i, bit += 8) {
        const std::byte expected = pattern[i] ^ static_cast<std::byte>(key >> bit);
        difference |= std::to_integer<std::uint64_t>(expected ^ got[i]);
    }
    return difference == 0;
}

}  // namespace

// A word of the stream is a word of memory with the key XORed in, and a piece may begin at any byte
// of one: rotating the key to the place works only where a word's first byte is its lowest.
static_assert(std::endian::native == std::endian::little);

Payload::Payload(std::size_t message_bytes, std::uint64_t run)
    : pattern_(std::max<std::size_t>(message_bytes, 1)), run_(mix(run)) {
    std::uint64_t state = 1;
    for (std::byte& byte : pattern_) byte = static_cast<std::byte>(mix(state++));
}

std::uint64_t Payload::key(std::uint32_t connection, std::uint64_t message) const {
    return mix(run_ + ((std::uint64_t{connection} << 40) | message));
}

void Payload::fill(std::uint32_t connection, std::uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
        const std::size_t at = static_cast<std::size_t>(offset % pattern_.size());
        const std::size_t size = std::min(out.size(), pattern_.size() - at);
        const auto turn = static_cast<int>(at % 8 * 8);
        const std::uint64_t turned = std::rotr(key(connection, offset / pattern_.size()), turn);
        apply_key(pattern_.data() + at, turned, out.data(), size);
        out = out.subspan(size);
        offset += size;
    }
}

bool Payload::matches(std::uint32_t connection, std::uint64_t offset,
                      std::span<const std::byte> got) const {
    while (!got.empty()) {
        const std::size_t at = static_cast<std::size_t>(offset % pattern_.size());
        const std::size_t size = std::min(got.size(), pattern_.size() - at);
        const auto turn = static_cast<int>(at % 8 * 8);
        const std::uint64_t turned = std::rotr(key(connection, offset / pattern_.size()), turn);
        if (!equals_keyed(pattern_.data() + at, turned, got.data(), size)) return false;
        got = got.subspan(size);
        offset += size;
    }
    return true;
}

}  // namespace load
