/// What the load generator sends and expects back. The bytes of a message depend on its connection
/// and its number, so an answer that is swapped, repeated, shifted or from another run differs.
export module load:payload;

import ringfort.std;

export namespace load {

/// Generates and checks the byte stream of every connection. Message `n` of connection `c` is a
/// fixed random pattern, each 8 bytes of it XORed with a key that is unique to (run, c, n): two
/// different messages differ in every full 8 bytes. (Messages shorter than that can be alike.)
class Payload {
public:
    /// Prepares messages of `message_bytes` bytes (at least 1).
    Payload(std::size_t message_bytes, std::uint64_t run);

    /// Writes the stream of `connection` from byte `offset` on into all of `out`.
    void fill(std::uint32_t connection, std::uint64_t offset, std::span<std::byte> out) const;

    /// Tells whether `got` is the stream of `connection` from byte `offset` on.
    [[nodiscard]] bool matches(std::uint32_t connection, std::uint64_t offset,
                               std::span<const std::byte> got) const;

    /// Returns the size of a message in bytes.
    [[nodiscard]] std::size_t message_bytes() const { return pattern_.size(); }

private:
    [[nodiscard]] std::uint64_t key(std::uint32_t connection, std::uint64_t message) const;

    std::vector<std::byte> pattern_;
    std::uint64_t run_;
};

}  // namespace load
