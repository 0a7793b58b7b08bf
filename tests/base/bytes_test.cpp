#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

import ringfort.base;

using namespace ringfort;

TEST_CASE("a size is parsed with its unit and printed with the largest that fits") {
    const auto [text, count] = GENERATE(std::pair<std::string, std::uint64_t>{"0B", 0},
                                        std::pair<std::string, std::uint64_t>{"1023B", 1023},
                                        std::pair<std::string, std::uint64_t>{"4KiB", 4096},
                                        std::pair<std::string, std::uint64_t>{"4MiB", 4ULL << 20},
                                        std::pair<std::string, std::uint64_t>{"3GiB", 3ULL << 30});
    const auto size = Bytes::parse(text);
    REQUIRE(size);
    CHECK(size->count == count);
    CHECK(size->text() == text);
}

TEST_CASE("a bare number and a space before the unit are taken") {
    CHECK(Bytes::parse("4096")->count == 4096);
    CHECK(Bytes::parse("4 MiB")->count == 4ULL << 20);
}

TEST_CASE("what is not a size is refused") {
    const std::string text = GENERATE("", "MiB", "4mb", "4MB", "-1", "4 MiBx", "0x10", "1.5KiB");
    REQUIRE_FALSE(Bytes::parse(text));
    CHECK(Bytes::parse(text).error().is(std::errc::invalid_argument));
}

TEST_CASE("a size past 64 bits is out of range") {
    CHECK(Bytes::parse("18446744073709551616").error().is(std::errc::result_out_of_range));
    CHECK(Bytes::parse("17179869184GiB").error().is(std::errc::result_out_of_range));
    CHECK(Bytes::parse("17179869183GiB"));
}
