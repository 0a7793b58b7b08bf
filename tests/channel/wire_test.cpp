#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <variant>
#include <vector>

#include "samples.h"

import ringfort.base;
import ringfort.channel;

using namespace ringfort;
using namespace ringfort::channel;

namespace {

std::size_t fds_of(const Message& message) {
    return kind(message).min_fds;
}

void require_refused(const Message& message) {
    const auto encoded = encode(message);
    REQUIRE_FALSE(encoded);
    REQUIRE(encoded.error().is(std::errc::invalid_argument));
}

// Overwrites bytes of an encoded message and says why it is refused.
template <class N>
std::error_code refusal(const Message& message, std::size_t offset, N value) {
    Packet packet = encode(message).value();
    REQUIRE(offset + sizeof value <= packet.size());
    std::memcpy(packet.data() + offset, &value, sizeof value);
    const auto decoded = decode(packet, fds_of(message));
    return decoded ? std::error_code{} : decoded.error().code();
}

constexpr std::size_t header_bytes = 12;

}  // namespace

TEST_CASE("every type of message decodes to what was encoded") {
    const auto all = samples::messages();
    REQUIRE(all.size() == std::variant_size_v<Message>);
    for (std::size_t position = 0; position < all.size(); ++position) {
        INFO(kind(all[position]).name);
        REQUIRE(all[position].index() == position);
        const auto packet = encode(all[position]);
        REQUIRE(packet);
        const auto decoded = decode(*packet, fds_of(all[position]));
        REQUIRE(decoded);
        REQUIRE(*decoded == all[position]);
    }
}

TEST_CASE("every kind of address that a listener can have travels") {
    const std::string longest = "unix:/" + std::string(106, 'a');
    for (const char* text :
         {"*:0", "[::1]:65535", "unix:/run/echo.sock", "unix:@abstract", longest.c_str()}) {
        INFO(text);
        const Message message = AddListener{0, "s", samples::address(text)};
        const auto decoded = decode(encode(message).value(), 1);
        REQUIRE(decoded);
        REQUIRE(*decoded == message);
        REQUIRE(std::get<AddListener>(*decoded).address.text() == samples::address(text).text());
    }
}

TEST_CASE("fields at their bounds travel, fields past them are refused") {
    const std::string name(limits::max_zone_name_bytes, 'n');
    const std::string tag(limits::max_zone_tag_bytes, 't');
    for (const Bytes size : {limits::min_zone_size, limits::max_zone_size}) {
        const Message message = AddZone{name, tag, size};
        REQUIRE(*decode(encode(message).value(), 1) == message);
    }
    const Bytes size = limits::min_zone_size;
    REQUIRE(encode(AddZone{"z", "", size}));
    require_refused(AddZone{name + "n", tag, size});
    require_refused(AddZone{name, tag + "t", size});
    require_refused(AddZone{"", tag, size});
    require_refused(AddZone{std::string{"a\0b", 3}, tag, size});
    require_refused(AddZone{name, std::string{"a\0b", 3}, size});
    require_refused(AddZone{name, tag, Bytes{size.count - 1}});
    require_refused(AddZone{name, tag, Bytes{limits::max_zone_size.count + 1}});
    require_refused(AddListener{0, "", samples::address("*:1")});
    require_refused(AddListener{0, "echo", Address{}});
    require_refused(Ready{limits::max_workers, 1});
    require_refused(Drain{Milliseconds{-1}});
    require_refused(Drain{Milliseconds{1LL << 32}});
    require_refused(Failed{0, 0, -1, ""});
    require_refused(Failed{0, 0, 4'096, ""});
    const Message longest = Drain{Milliseconds{(1LL << 32) - 1}};
    REQUIRE(*decode(encode(longest).value(), 0) == longest);
}

TEST_CASE("the text of a failure is cut rather than the failure lost") {
    const std::string text(limits::max_report_text_bytes + 1, 'x');
    const auto decoded = decode(encode(Failed{0, 1, 5, text}).value(), 0);
    REQUIRE(decoded);
    REQUIRE(std::get<Failed>(*decoded).text.size() == limits::max_report_text_bytes);
}

TEST_CASE("a packet cut anywhere or with bytes behind it is refused") {
    for (const Message& message : samples::messages()) {
        INFO(kind(message).name);
        Packet packet = encode(message).value();
        for (std::size_t size = 0; size < packet.size(); ++size) {
            const std::span<const std::byte> part{packet.data(), size};
            REQUIRE(decode(part, fds_of(message)).error().is(std::errc::bad_message));
        }
        packet.push_back(std::byte{0});
        REQUIRE(decode(packet, fds_of(message)).error().is(std::errc::bad_message));
        // The same with a length that admits the extra byte.
        const auto payload = static_cast<std::uint32_t>(packet.size() - header_bytes);
        std::memcpy(packet.data() + 8, &payload, sizeof payload);
        REQUIRE(decode(packet, fds_of(message)).error().is(std::errc::bad_message));
    }
}

TEST_CASE("a wrong header is refused with its own error") {
    const Message message = Ready{1, 2};
    using u16 = std::uint16_t;
    REQUIRE(refusal(message, 0, std::uint32_t{0}) == std::errc::bad_message);
    REQUIRE(refusal(message, 4, u16{protocol_version + 1}) == std::errc::protocol_error);
    REQUIRE(refusal(message, 4, u16{0}) == std::errc::protocol_error);
    REQUIRE(refusal(message, 6, u16{0}) == std::errc::protocol_error);
    REQUIRE(refusal(message, 6, u16{std::variant_size_v<Message> + 1}) ==
            std::errc::protocol_error);
    REQUIRE(refusal(message, 6, u16{0xffff}) == std::errc::protocol_error);
    REQUIRE(refusal(message, 8, std::uint32_t{9}) == std::errc::bad_message);
    REQUIRE(refusal(message, 8, std::uint32_t{0xffffffff}) == std::errc::bad_message);
    const Packet oversize(limits::max_message_bytes + 1);
    REQUIRE(decode(oversize, 0).error().is(std::errc::bad_message));
}

TEST_CASE("fields that a peer forged out of range are refused") {
    using u16 = std::uint16_t;
    using u32 = std::uint32_t;
    const Message ready = Ready{1, 2};
    REQUIRE(refusal(ready, header_bytes, u32{limits::max_workers}) == std::errc::bad_message);
    REQUIRE_FALSE(refusal(ready, header_bytes, u32{limits::max_workers - 1}));
    const Message failed = Failed{1, 2, 3, "why"};
    REQUIRE(refusal(failed, header_bytes + 8, u32{4'096}) == std::errc::bad_message);
    REQUIRE(refusal(failed, header_bytes + 8, u32{0xffffffff}) == std::errc::bad_message);
    REQUIRE(refusal(failed, header_bytes + 12, u16{4}) == std::errc::bad_message);
    REQUIRE(refusal(failed, header_bytes + 12, u16{2}) == std::errc::bad_message);
    const Message level = SetLogLevel{log::Level::debug};
    REQUIRE(refusal(level, header_bytes, std::uint8_t{4}) == std::errc::bad_message);
    REQUIRE_FALSE(refusal(level, header_bytes, std::uint8_t{3}));
    const Message zone = AddZone{"zone", "tag", Bytes{8'192}};
    REQUIRE(refusal(zone, header_bytes + 2, '\0') == std::errc::bad_message);
    REQUIRE(refusal(zone, header_bytes, u16{0xffff}) == std::errc::bad_message);
    REQUIRE(refusal(zone, header_bytes + 11, std::uint64_t{1}) == std::errc::bad_message);
    const Message listener = AddListener{1, "echo", samples::address("127.0.0.1:80")};
    constexpr std::size_t family = header_bytes + 4 + 6 + 2;
    for (const u16 forged : {u16{AF_UNSPEC}, u16{AF_INET6}, u16{AF_NETLINK}})
        REQUIRE(refusal(listener, family, forged) == std::errc::bad_message);
    REQUIRE(refusal(listener, family - 2, u16{0xffff}) == std::errc::bad_message);
}

TEST_CASE("a string over its bound is refused though its packet is consistent") {
    const std::string longest(limits::max_service_name_bytes, 's');
    Packet packet = encode(AddListener{1, longest, samples::address("127.0.0.1:80")}).value();
    constexpr std::size_t length = header_bytes + 4;
    packet.insert(packet.begin() + length + 2, std::byte{'s'});
    const auto longer = static_cast<std::uint16_t>(longest.size() + 1);
    std::memcpy(packet.data() + length, &longer, sizeof longer);
    const auto payload = static_cast<std::uint32_t>(packet.size() - header_bytes);
    std::memcpy(packet.data() + 8, &payload, sizeof payload);
    REQUIRE(decode(packet, 1).error().is(std::errc::bad_message));
}

TEST_CASE("an unnamed or overlong unix address is refused") {
    sockaddr_storage storage{};
    storage.ss_family = AF_UNIX;
    const auto* data = reinterpret_cast<const sockaddr*>(&storage);
    require_refused(AddListener{0, "s", Address::from(data, sizeof(sa_family_t))});
    require_refused(AddListener{0, "s", Address::from(data, sizeof(sockaddr_un) + 1)});
}

TEST_CASE("descriptors in a number the type does not carry are refused") {
    for (const Message& message : samples::messages()) {
        INFO(kind(message).name);
        const Packet packet = encode(message).value();
        for (std::size_t count = 0; count <= 253; ++count) {
            const Kind expected = kind(message);
            const bool right = count >= expected.min_fds && count <= expected.max_fds;
            const auto decoded = decode(packet, count);
            REQUIRE(decoded.has_value() == right);
            if (!right) REQUIRE(decoded.error().is(std::errc::bad_message));
        }
    }
}
