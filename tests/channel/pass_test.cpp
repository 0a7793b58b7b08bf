#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.channel;

#include "samples.h"

using namespace ringfort;

namespace {

struct Stream {
    Fd one, other;
    Stream() {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        one = Fd{ends[0]};
        other = Fd{ends[1]};
    }
};

}  // namespace

TEST_CASE("a descriptor passes over a stream, with a text") {
    const Stream stream;
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const Fd read{ends[0]}, write{ends[1]};
    REQUIRE(channel::pass(stream.one, "ok\n", write));
    const auto passed = channel::receive_passed(stream.other);
    REQUIRE(passed);
    CHECK(passed->text == "ok\n");
    REQUIRE(passed->fd);
    CHECK(passed->fd.get() != write.get());
    CHECK((::fcntl(passed->fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    REQUIRE(::write(passed->fd.get(), "x", 1) == 1);
    char byte = 0;
    CHECK(::read(read.get(), &byte, 1) == 1);
}

TEST_CASE("a text without a descriptor is that, and so is an end") {
    Stream stream;
    REQUIRE(::send(stream.one.get(), "failed\n", 7, 0) == 7);
    auto passed = channel::receive_passed(stream.other);
    REQUIRE(passed);
    CHECK(passed->text == "failed\n");
    CHECK_FALSE(passed->fd);
    stream.one.close();
    passed = channel::receive_passed(stream.other);
    REQUIRE(passed);
    CHECK(passed->text.empty());
    CHECK_FALSE(channel::pass(stream.other, "x", stream.other));
}

TEST_CASE("a passed descriptor that finds no room is an error, and none is leaked") {
    const Stream stream;
    REQUIRE(channel::pass(stream.one, "ok\n", stream.one));
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit none = before;
    none.rlim_cur = 0;
    const std::size_t open = samples::open_descriptors();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    const auto passed = channel::receive_passed(stream.other);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    REQUIRE_FALSE(passed);
    CHECK(passed.error().is(std::errc::too_many_files_open));
    CHECK(samples::open_descriptors() == open);
}
