#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.uring;

#include "sockets.h"
#include "soft_ring_bench.h"
#include "soft_ring_sockets.h"

using namespace ringfort;
using testing::Bench;
using testing::compare;

TEST_CASE("a poll tells what holds, or waits for it") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        bench.submit(1, io_uring_prep_poll_add, near.get(), unsigned{POLLOUT});
        bench.submit(2, io_uring_prep_poll_add, near.get(), unsigned{POLLIN});
        (void)bench.expect(1);
        bench.expect_nothing();
        testing::put(far.get(), "x");
        (void)bench.expect(1);
        bench.submit(3, io_uring_prep_poll_add, near.get(), POLLIN | POLLOUT);
        (void)bench.expect(1);
        (void)testing::get(near.get());
        bench.submit(4, io_uring_prep_poll_add, near.get(), unsigned{POLLIN});
        (void)bench.turn();
        far.close();
        (void)bench.expect(1);
        bench.submit(5, io_uring_prep_poll_add, near.get(), unsigned{POLLIN});
        bench.submit(6, io_uring_prep_poll_add, 999, unsigned{POLLIN});
        bench.submit(7, io_uring_prep_poll_add, -1, unsigned{POLLIN});
        bench.submit(8, io_uring_prep_poll_add, near.get(), unsigned{POLLIN}).off = 1;
        (void)bench.expect(4);
    });
}

TEST_CASE("a poll of a file that is always ready says so at once") {
    compare([](Bench& bench) {
        const Fd file{::open("/etc/passwd", O_RDONLY | O_CLOEXEC)};
        bench.submit(1, io_uring_prep_poll_add, file.get(), unsigned{POLLIN});
        bench.submit(2, io_uring_prep_poll_multishot, file.get(), unsigned{POLLIN});
        (void)bench.expect(2);
    });
}

TEST_CASE("a multishot poll tells of every change, once") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        bench.submit(1, io_uring_prep_poll_multishot, near.get(), unsigned{POLLIN});
        bench.expect_nothing();
        for (int i = 0; i < 3; ++i) {
            testing::put(far.get(), "x");
            (void)bench.expect(1);
            bench.expect_nothing();  // what was told and not acted upon is not told again
        }
        bench.submit(2, io_uring_prep_cancel64, 1, 0);
        (void)bench.expect(2);
        testing::put(far.get(), "x");
        bench.expect_nothing();
        bench.submit(3, io_uring_prep_poll_multishot, near.get(), unsigned{POLLIN});
        (void)bench.expect(1);
    });
}

TEST_CASE("polls and receives of one descriptor do not disturb each other") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        std::array<char, 8> bytes{};
        bench.submit(1, io_uring_prep_poll_multishot, near.get(), unsigned{POLLIN});
        bench.submit(2, io_uring_prep_poll_add, near.get(), unsigned{POLLIN});
        bench.expect_nothing();
        testing::put(far.get(), "abc");
        (void)bench.expect(2);
        bench.submit(3, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0);
        (void)bench.expect(1);
        bench.submit(4, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0);
        bench.expect_nothing();
        testing::put(far.get(), "de");
        (void)bench.expect(2);
    });
}

TEST_CASE("two multishot polls of one descriptor both hear of it") {
    testing::SoftBackend backend{16, 64};
    Bench bench{backend};
    auto [near, far] = testing::socket_pair();
    bench.submit(1, io_uring_prep_poll_multishot, near.get(), unsigned{POLLIN});
    bench.submit(2, io_uring_prep_poll_multishot, near.get(), unsigned{POLLIN});
    (void)bench.turn();
    testing::put(far.get(), "x");
    const auto found = bench.await(2);
    REQUIRE(found.size() == 2);
    CHECK(found[0].user_data == 1);
    CHECK(found[1].user_data == 2);
    CHECK(found[1].more());
}
