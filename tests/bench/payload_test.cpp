#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

import load;

using load::Payload;

namespace {

constexpr std::uint64_t nine_messages = std::uint64_t{64} * 9;

std::vector<std::byte> stream(const Payload& payload, std::uint32_t connection,
                              std::uint64_t offset, std::size_t size) {
    std::vector<std::byte> bytes(size);
    payload.fill(connection, offset, bytes);
    return bytes;
}

}  // namespace

TEST_CASE("a stream is the same however it is cut into pieces") {
    for (const std::size_t message : {1U, 7U, 8U, 64U, 100U}) {
        const Payload payload(message, 1);
        const auto whole = stream(payload, 3, 0, 500);
        CHECK(payload.matches(3, 0, whole));
        for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
            const auto tail = stream(payload, 3, cut, whole.size() - cut);
            REQUIRE(std::equal(tail.begin(), tail.end(), whole.begin() + static_cast<long>(cut)));
            REQUIRE(payload.matches(3, cut, tail));
        }
    }
}

TEST_CASE("every single changed bit is noticed") {
    const Payload payload(27, 1);
    auto bytes = stream(payload, 0, 5, 60);
    for (std::byte& byte : bytes) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            byte ^= std::byte{1} << bit;
            REQUIRE_FALSE(payload.matches(0, 5, bytes));
            byte ^= std::byte{1} << bit;
        }
    }
    CHECK(payload.matches(0, 5, bytes));
}

TEST_CASE("messages of other connections, other numbers and other runs do not match") {
    const Payload payload(64, 1);
    const auto message = stream(payload, 5, nine_messages, 64);
    CHECK(payload.matches(5, nine_messages, message));
    for (std::uint32_t other = 0; other < 1000; ++other) {
        if (other != 5) REQUIRE_FALSE(payload.matches(other, nine_messages, message));
        if (other != 9) REQUIRE_FALSE(payload.matches(5, std::uint64_t{64} * other, message));
    }
    CHECK_FALSE(Payload(64, 2).matches(5, nine_messages, message));
}
