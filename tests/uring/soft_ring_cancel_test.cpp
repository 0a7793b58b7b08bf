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
using testing::Buffers;
using testing::compare;

namespace {

void cancel(Bench& bench, std::uint64_t user_data, std::uint64_t which, unsigned flags = 0) {
    bench.submit(user_data, io_uring_prep_cancel64, which, static_cast<int>(flags));
}

void cancel_fd(Bench& bench, std::uint64_t user_data, RawFd fd, unsigned flags = 0) {
    bench.submit(user_data, io_uring_prep_cancel_fd, fd, flags);
}

}  // namespace

TEST_CASE("every kind of waiting request can be cancelled by its user data") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        auto [full, reader] = testing::socket_pair();
        const auto door = testing::listener();
        Buffers buffers{bench.backend, 1, 4, 8};
        buffers.add_all();
        std::array<char, 8> bytes{};
        iovec part{bytes.data(), bytes.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        while (::send(full.get(), "x", 1, MSG_DONTWAIT) == 1) {
        }
        std::uint32_t word = 1;
        bench.submit(1, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0);
        auto& multishot =
            bench.submit(2, io_uring_prep_recv_multishot, near.get(), nullptr, std::size_t{0}, 0);
        testing::pick_buffer(multishot, 1);
        bench.submit(3, io_uring_prep_recvmsg, near.get(), &header, 0U);
        bench.submit(4, io_uring_prep_send, full.get(), "abc", 3U, 0);
        bench.submit(5, io_uring_prep_sendmsg, full.get(), &header, 0U);
        bench.submit(6, io_uring_prep_accept, door.get(), nullptr, nullptr, 0);
        bench.submit(7, io_uring_prep_multishot_accept, door.get(), nullptr, nullptr, 0);
        bench.submit(8, io_uring_prep_poll_add, near.get(), unsigned{POLLIN});
        bench.submit(9, io_uring_prep_poll_multishot, near.get(), unsigned{POLLIN});
        bench.submit(10, io_uring_prep_read, near.get(), bytes.data(), 8U, ~std::uint64_t{0});
        bench.submit(11, io_uring_prep_futex_wait, &word, 1, 0xFFFFFFFF, 2U | 128U, 0U);
        bench.submit(12, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0).flags |=
            IOSQE_CQE_SKIP_SUCCESS;
        bench.expect_nothing();
        for (std::uint64_t i = 1; i < 13; ++i) {
            cancel(bench, 100 + i, i);
            (void)bench.expect(2);
            cancel(bench, 200 + i, i);
            (void)bench.expect(1);
        }
        testing::put(far.get(), "nobody");
        bench.expect_nothing();
    });
}

TEST_CASE("requests are cancelled by descriptor, by opcode, one or all of them") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        std::array<char, 8> bytes{};
        const auto receive = [&](std::uint64_t user_data, RawFd fd) {
            bench.submit(user_data, io_uring_prep_recv, fd, bytes.data(), bytes.size(), 0);
        };
        cancel_fd(bench, 1, near.get());
        cancel_fd(bench, 2, near.get(), IORING_ASYNC_CANCEL_ALL);
        cancel_fd(bench, 3, 999);
        cancel(bench, 4, 77);
        cancel(bench, 5, 77, IORING_ASYNC_CANCEL_ALL);
        cancel(bench, 6, 0, IORING_ASYNC_CANCEL_ANY);
        cancel(bench, 7, 0, 1U << 20);
        cancel(bench, 8, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD);
        (void)bench.expect(8);

        receive(10, near.get());
        cancel_fd(bench, 11, near.get());
        (void)bench.expect(2);
        for (int i = 0; i < 3; ++i) receive(12, near.get());
        receive(13, far.get());
        cancel_fd(bench, 14, near.get(), IORING_ASYNC_CANCEL_ALL);
        (void)bench.expect(4);
        for (int i = 0; i < 3; ++i) receive(13, near.get());
        cancel(bench, 15, 13, IORING_ASYNC_CANCEL_ALL);
        (void)bench.expect(5);
        receive(16, near.get());
        receive(17, near.get());
        cancel_fd(bench, 18, near.get(), IORING_ASYNC_CANCEL_USERDATA);  // user data 0: none
        (void)bench.expect(1);
        auto& both = bench.submit(19, io_uring_prep_cancel_fd, near.get(),
                                  unsigned{IORING_ASYNC_CANCEL_USERDATA});
        both.addr = 17;
        (void)bench.expect(2);
        bench.submit(20, io_uring_prep_poll_add, near.get(), unsigned{POLLIN});
        (void)bench.turn();
        auto& by_opcode =
            bench.submit(21, io_uring_prep_cancel64, 0,
                         static_cast<int>(IORING_ASYNC_CANCEL_OP | IORING_ASYNC_CANCEL_ALL));
        by_opcode.len = IORING_OP_POLL_ADD;
        (void)bench.expect(2);
        receive(22, far.get());
        cancel(bench, 23, 0, IORING_ASYNC_CANCEL_ANY);
        (void)bench.expect(3);
    });
}

TEST_CASE("a cancelled request that has moved bytes tells how many") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        std::array<char, 100> bytes{};
        bench.submit(1, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), MSG_WAITALL);
        (void)bench.turn();
        testing::put(far.get(), "0123456789");
        bench.expect_nothing();
        cancel(bench, 2, 1);
        (void)bench.expect(2);
    });
}

TEST_CASE("a cancelled request leaves the descriptor to the next one") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        std::array<char, 8> bytes{};
        for (std::uint64_t i = 0; i < 5; ++i) {
            bench.submit(i, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0);
            (void)bench.turn();
            if (i % 2 == 0)
                cancel(bench, 100 + i, i);
            else
                testing::put(far.get(), "abc");
            (void)bench.expect(i % 2 == 0 ? 2 : 1);
        }
    });
}

TEST_CASE("what completes and is cancelled in one turn ends once") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        std::array<char, 8> bytes{};
        bench.submit(1, io_uring_prep_send, near.get(), "abc", 3U, 0);
        bench.submit(2, io_uring_prep_recv, far.get(), bytes.data(), bytes.size(), 0);
        cancel(bench, 3, 2);
        (void)bench.expect(3);
    });
}
