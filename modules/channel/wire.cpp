module;
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.channel;

import :archive;

namespace ringfort::channel {
namespace {

struct Header {
    std::uint32_t magic;
    std::uint16_t version;
    std::uint16_t type;  // position in Message, plus 1: zeroed memory is no message
    std::uint32_t payload_bytes;
};
static_assert(sizeof(Header) == 12);

constexpr std::uint32_t magic = 0x6863'6672;  // "rfch"

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
    archive.cut_string(message.text, limits::max_report_text_bytes);
}

template <class A>
void fields(A& archive, typename A::template Of<Shortcoming> message) {
    worker(archive, message);
    archive.cut_string(message.text, limits::max_report_text_bytes);
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

template <class A>
void fields(A& archive, typename A::template Of<FileOwner> message) {
    archive.number(message.listener);
    archive.maybe(message.uid);
    archive.maybe(message.gid);
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
