module;
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.channel;

namespace ringfort::channel {
namespace {

struct Header {
    std::uint32_t magic;
    std::uint16_t version;
    std::uint16_t type;  // position in Message, plus 1: zeroed memory is no message
    std::uint32_t payload_bytes;
};
static_assert(sizeof(Header) == 12);

constexpr std::uint32_t magic = 0x6863'6672;       // "rfch"
constexpr std::uint32_t max_error_number = 4'095;  // MAX_ERRNO of the kernel

// Writer and Reader have the same operations, so that the fields and the ranges of a message are
// written down once, in `fields`, for both directions.

class Writer {
public:
    template <class M>
    using Of = const M&;

    explicit Writer(Packet& packet) noexcept : packet_{packet} {}

    template <std::unsigned_integral N>
    void number(N value) {
        bytes(&value, sizeof value);
    }
    void string(const std::string& text, std::size_t max_bytes) {
        check(text.size() <= max_bytes);
        const std::size_t size = std::min(text.size(), max_bytes);
        number(static_cast<std::uint16_t>(size));
        bytes(text.data(), size);
    }
    void cut_string(const std::string& text, std::size_t max_bytes) {
        string(text.substr(0, max_bytes), max_bytes);
    }
    void duration(Milliseconds value) {
        check(value.count() >= 0 && value.count() <= std::numeric_limits<std::uint32_t>::max());
        number(static_cast<std::uint32_t>(value.count()));
    }
    void size(Bytes value) { number(value.count); }
    void flag(bool value) { number(static_cast<std::uint8_t>(value)); }
    template <class E>
    void choice(E value, E last) {
        check(value <= last);
        number(static_cast<std::uint8_t>(value));
    }
    void numbers(const std::vector<std::uint32_t>& values, std::size_t most) {
        check(values.size() <= most);
        number(static_cast<std::uint16_t>(values.size()));
        bytes(values.data(), values.size() * sizeof values[0]);
    }
    void error_number(int value) { number(static_cast<std::uint32_t>(value)); }
    void level(log::Level value) { number(static_cast<std::uint8_t>(value)); }
    void address(const Address& value) {
        number(static_cast<std::uint16_t>(value.size()));
        bytes(value.data(), value.size());
    }
    void check(bool holds) noexcept { good_ = good_ && holds; }
    [[nodiscard]] bool good() const noexcept { return good_; }

private:
    void bytes(const void* data, std::size_t size) {
        const auto* first = static_cast<const std::byte*>(data);
        packet_.insert(packet_.end(), first, first + size);
    }

    Packet& packet_;
    bool good_ = true;
};

class Reader {
public:
    template <class M>
    using Of = M&;

    explicit Reader(std::span<const std::byte> rest) noexcept : rest_{rest} {}

    template <std::unsigned_integral N>
    void number(N& value) {
        bytes(&value, sizeof value);
    }
    void string(std::string& text, std::size_t max_bytes) {
        std::uint16_t size = 0;
        number(size);
        check(size <= max_bytes && size <= rest_.size());
        text.resize(good_ ? size : 0);
        bytes(text.data(), text.size());
    }
    void cut_string(std::string& text, std::size_t max_bytes) { string(text, max_bytes); }
    void duration(Milliseconds& value) {
        std::uint32_t count = 0;
        number(count);
        value = Milliseconds{count};
    }
    void size(Bytes& value) { number(value.count); }
    void flag(bool& value) {
        std::uint8_t byte = 0;
        number(byte);
        check(byte <= 1);
        value = byte == 1;
    }
    template <class E>
    void choice(E& value, E last) {
        std::uint8_t byte = 0;
        number(byte);
        check(byte <= static_cast<std::uint8_t>(last));
        value = good_ ? static_cast<E>(byte) : E{};
    }
    void numbers(std::vector<std::uint32_t>& values, std::size_t most) {
        std::uint16_t count = 0;
        number(count);
        check(count <= most && count * sizeof values[0] <= rest_.size());
        values.resize(good_ ? count : 0);
        bytes(values.data(), values.size() * sizeof values[0]);
    }
    void error_number(int& value) {
        std::uint32_t count = 0;
        number(count);
        check(count <= max_error_number);
        value = good_ ? static_cast<int>(count) : 0;
    }
    void level(log::Level& value) {
        std::uint8_t count = 0;
        number(count);
        check(count <= static_cast<std::uint8_t>(log::Level::error));
        if (good_) value = static_cast<log::Level>(count);
    }
    void address(Address& value) {
        sockaddr_storage storage{};
        std::uint16_t size = 0;
        number(size);
        check(size <= sizeof storage && size <= rest_.size());
        if (!good_) return;
        bytes(&storage, size);
        value = Address::from(reinterpret_cast<const sockaddr*>(&storage), size);
    }
    void check(bool holds) noexcept { good_ = good_ && holds; }
    [[nodiscard]] bool good() const noexcept { return good_; }
    [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }

private:
    void bytes(void* data, std::size_t size) {
        check(size <= rest_.size());
        if (!good_ || size == 0) return;
        std::memcpy(data, rest_.data(), size);
        rest_ = rest_.subspan(size);
    }

    std::span<const std::byte> rest_;
    bool good_ = true;
};

bool is_listening_address(const Address& address) noexcept {
    switch (address.family()) {
        case AF_INET:
            return address.size() == sizeof(sockaddr_in);
        case AF_INET6:
            return address.size() == sizeof(sockaddr_in6);
        case AF_UNIX:
            return address.size() > offsetof(sockaddr_un, sun_path) &&
                   address.size() <= sizeof(sockaddr_un);
        default:
            return false;
    }
}

template <class A>
void name(A& archive, typename A::template Of<std::string> text, std::size_t max_bytes) {
    archive.string(text, max_bytes);
    archive.check(!text.empty() && text.find('\0') == text.npos);
}

template <class A, class M>
void worker(A& archive, M& message) {
    archive.number(message.slot);
    archive.check(message.slot < limits::max_workers);
    archive.number(message.generation);
}

template <class A>
void fields(A& archive, typename A::template Of<AddListener> message) {
    archive.number(message.id);
    name(archive, message.service, limits::max_service_name_bytes);
    archive.address(message.address);
    archive.check(is_listening_address(message.address));
}

template <class A>
void fields(A& archive, typename A::template Of<AddZone> message) {
    name(archive, message.name, limits::max_zone_name_bytes);
    archive.string(message.tag, limits::max_zone_tag_bytes);
    archive.check(message.tag.find('\0') == message.tag.npos);
    archive.size(message.size);
    archive.check(message.size >= limits::min_zone_size && message.size <= limits::max_zone_size);
}

template <class A>
void fields(A& archive, typename A::template Of<Start> message) {
    worker(archive, message);
    archive.number(message.row);
    archive.check(message.row < limits::max_counter_rows);
    archive.duration(message.drain_timeout);
}

template <class A>
void fields(A& archive, typename A::template Of<Drain> message) {
    archive.duration(message.timeout);
}

template <class A>
void fields(A&, typename A::template Of<Terminate>) {}

template <class A>
void fields(A&, typename A::template Of<ReopenLogs>) {}

template <class A>
void fields(A& archive, typename A::template Of<OpenPeer> message) {
    worker(archive, message);
}

template <class A>
void fields(A& archive, typename A::template Of<ClosePeer> message) {
    worker(archive, message);
}

template <class A>
void fields(A& archive, typename A::template Of<Ready> message) {
    worker(archive, message);
}

template <class A>
void fields(A& archive, typename A::template Of<Failed> message) {
    worker(archive, message);
    archive.error_number(message.error_number);
    archive.check(message.error_number >= 0 &&
                  message.error_number <= static_cast<int>(max_error_number));
    archive.cut_string(message.text, limits::max_failure_text_bytes);
}

template <class A>
void fields(A& archive, typename A::template Of<Draining> message) {
    worker(archive, message);
    archive.number(message.connections);
}

template <class A>
void fields(A& archive, typename A::template Of<Hello> message) {
    worker(archive, message);
}

template <class A>
void fields(A& archive, typename A::template Of<OfferListener> message) {
    archive.choice(message.use, ListenerUse::foreign);
    archive.address(message.configured);
    archive.check(is_listening_address(message.configured));
}

template <class A>
void fields(A& archive, typename A::template Of<OfferFile> message) {
    archive.choice(message.use, FileUse::pid_file);
    name(archive, message.path, limits::max_text_bytes);
}

template <class A>
void fields(A& archive, typename A::template Of<Text> message) {
    archive.choice(message.use, TextUse::finding);
    archive.flag(message.last);
    archive.string(message.part, limits::max_text_bytes);
}

template <class A>
void fields(A& archive, typename A::template Of<User> message) {
    name(archive, message.name, limits::max_user_name_bytes);
    archive.number(message.uid);
    archive.number(message.gid);
    archive.numbers(message.groups, limits::max_user_groups);
}

template <class A>
void fields(A& archive, typename A::template Of<Succession> message) {
    archive.number(message.generation);
    archive.flag(message.rows_from_top);
}

template <class A>
void fields(A& archive, typename A::template Of<TakenRow> message) {
    archive.number(message.row);
    archive.check(message.row < limits::max_counter_rows);
}

template <class A>
void fields(A& archive, typename A::template Of<Done> message) {
    archive.flag(message.success);
}

template <class A>
void fields(A& archive, typename A::template Of<SetLogLevel> message) {
    archive.level(message.level);
}

template <class A>
void fields(A& archive, typename A::template Of<RemoveListener> message) {
    archive.number(message.id);
}

template <class A>
void fields(A& archive, typename A::template Of<ServiceMessage> message) {
    name(archive, message.service, limits::max_service_name_bytes);
    archive.number(message.type);
    archive.string(message.bytes, limits::max_peer_message_bytes);
}

template <class M>
Result<Message> decode_payload(std::span<const std::byte> payload, std::size_t fd_count) {
    if (fd_count < M::kind.min_fds || fd_count > M::kind.max_fds)
        return Error{"decode a message: its number of descriptors", std::errc::bad_message};
    M message;
    Reader reader{payload};
    fields(reader, message);
    if (!reader.good()) return Error{"decode a message: its fields", std::errc::bad_message};
    if (!reader.at_end()) return Error{"decode a message: trailing bytes", std::errc::bad_message};
    return Message{std::move(message)};
}

using Decoder = Result<Message> (*)(std::span<const std::byte>, std::size_t);

template <std::size_t... position>
constexpr auto decoders_of(std::index_sequence<position...>) {
    return std::array<Decoder, sizeof...(position)>{
        &decode_payload<std::variant_alternative_t<position, Message>>...};
}

// By type, as on the wire, minus 1.
constexpr auto decoders = decoders_of(std::make_index_sequence<std::variant_size_v<Message>>{});

}  // namespace

Result<Packet> encode(const Message& message) {
    Packet packet(sizeof(Header));
    Writer writer{packet};
    std::visit([&](const auto& alternative) { fields(writer, alternative); }, message);
    if (!writer.good()) return Error{"encode a message: its fields", std::errc::invalid_argument};
    if (packet.size() > limits::max_message_bytes)
        return Error{"encode a message", std::errc::message_size};
    const Header header{magic, protocol_version, static_cast<std::uint16_t>(message.index() + 1),
                        static_cast<std::uint32_t>(packet.size() - sizeof(Header))};
    std::memcpy(packet.data(), &header, sizeof header);
    return packet;
}

Result<Message> decode(std::span<const std::byte> packet, std::size_t fd_count) {
    Header header{};
    if (packet.size() < sizeof header || packet.size() > limits::max_message_bytes)
        return Error{"decode a message: its length", std::errc::bad_message};
    std::memcpy(&header, packet.data(), sizeof header);
    if (header.magic != magic) return Error{"decode a message: magic", std::errc::bad_message};
    if (header.version != protocol_version)
        return Error{"decode a message: version", std::errc::protocol_error};
    if (header.payload_bytes != packet.size() - sizeof header)
        return Error{"decode a message: its length", std::errc::bad_message};
    if (header.type == 0 || header.type > decoders.size())
        return Error{"decode a message: type", std::errc::protocol_error};
    return decoders[header.type - 1U](packet.subspan(sizeof header), fd_count);
}

}  // namespace ringfort::channel
