#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <type_traits>
#include <utility>

import ringfort.base;

using namespace ringfort;

static_assert(!std::is_copy_constructible_v<Fd>);

namespace {
bool open_now(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}
Fd open_null() {
    return Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
}
}  // namespace

TEST_CASE("an Fd closes its descriptor when it ends, once") {
    int number = -1;
    {
        Fd fd = open_null();
        number = fd.get();
        CHECK(open_now(number));
        const Fd moved = std::move(fd);
        CHECK_FALSE(fd);
        CHECK(moved.get() == number);
    }
    CHECK_FALSE(open_now(number));
}

TEST_CASE("assigning to an Fd closes what it held") {
    Fd fd = open_null();
    const int old = fd.get();
    fd = open_null();
    CHECK(fd.get() != old);
    CHECK_FALSE(open_now(old));
}

TEST_CASE("a released descriptor stays open") {
    int number = -1;
    {
        Fd fd = open_null();
        number = fd.release();
    }
    CHECK(open_now(number));
    ::close(number);
}

TEST_CASE("a duplicate is another descriptor, closed on exec") {
    const Fd fd = open_null();
    const auto copy = fd.duplicate();
    REQUIRE(copy);
    CHECK(copy->get() != fd.get());
    CHECK((::fcntl(copy->get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_FALSE(Fd{}.duplicate());
}
