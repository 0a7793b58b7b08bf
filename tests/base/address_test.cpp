#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <string>
#include <system_error>

import ringfort.base;

using namespace ringfort;

TEST_CASE("an address is printed as it was parsed") {
    const std::string text =
        GENERATE("127.0.0.1:7000", "0.0.0.0:0", "[::1]:65535", "[fe80::1]:80", "unix:/run/a.sock",
                 "unix:relative.sock", "unix:@abstract name");
    const auto address = Address::parse(text);
    REQUIRE(address);
    CHECK(address->text() == text);
}

TEST_CASE("a star is every IPv4 address") {
    CHECK(Address::parse("*:80").value().text() == "0.0.0.0:80");
}

TEST_CASE("what is not an address is refused") {
    const std::string text =
        GENERATE("", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80x",
                 "localhost:80", "::1:80", "[::1]", "[::1:80", "unix:", "unix:@", "256.0.0.1:1");
    const auto address = Address::parse(text);
    REQUIRE_FALSE(address);
    CHECK(address.error().is(std::errc::invalid_argument));
}

TEST_CASE("a unix path is at most 107 bytes long") {
    CHECK(Address::parse("unix:/" + std::string(106, 'x')));
    const auto longer = Address::parse("unix:/" + std::string(107, 'x'));
    REQUIRE_FALSE(longer);
    CHECK(longer.error().is(std::errc::filename_too_long));
}

TEST_CASE("only a unix address in the file system has a path") {
    CHECK(Address::parse("unix:/run/a.sock")->path() == "/run/a.sock");
    CHECK(Address::parse("unix:@abstract")->path().empty());
    CHECK(Address::parse("127.0.0.1:80")->path().empty());
}

TEST_CASE("a bound socket tells the port that the kernel picked") {
    const Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const auto any = Address::parse("127.0.0.1:0").value();
    REQUIRE(::bind(socket.get(), any.data(), any.size()) == 0);
    const auto bound = Address::of_socket(socket.get());
    REQUIRE(bound);
    CHECK(bound->port() != 0);
    CHECK(bound->host() == "127.0.0.1");
    CHECK_FALSE(*bound == any);
}
