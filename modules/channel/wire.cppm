export module ringfort.channel:wire;

import ringfort.base;
import ringfort.std;
import :message;

export namespace ringfort::channel {

/// The version of the wire format that this build speaks. Two builds talk during a binary upgrade.
inline constexpr std::uint16_t protocol_version = 2;

/// The bytes of one message, as they travel: a header {magic, version, type, payload length}, then
/// the fields in order. Integers have fixed width and the machine's byte order, since both ends
/// run on it; strings are a 16-bit length and that many bytes.
using Packet = std::vector<std::byte>;

/// Encodes a message; its descriptors travel beside it. Errors: EINVAL for a field out of the range
/// documented beside it; EMSGSIZE past `limits::max_message_bytes`.
[[nodiscard]] Result<Packet> encode(const Message& message);

/// Decodes and validates one packet that came with `fd_count` descriptors. Errors: EPROTO for a
/// version or type this build does not know; EBADMSG for everything else that `encode` would not
/// have produced: a wrong magic or length, trailing bytes, a field out of range, a number of
/// descriptors that the type does not carry.
[[nodiscard]] Result<Message> decode(std::span<const std::byte> packet, std::size_t fd_count);

}  // namespace ringfort::channel
