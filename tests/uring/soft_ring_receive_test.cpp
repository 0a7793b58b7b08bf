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
using testing::compare_streams;
using testing::Pair;
using uring::BufferUse;

namespace {

constexpr std::uint16_t group = 3;

io_uring_sqe& multishot(Bench& bench, std::uint64_t user_data, RawFd fd, unsigned more = 0) {
    auto& sqe = bench.submit(user_data, io_uring_prep_recv_multishot, fd, nullptr, 0, 0);
    testing::pick_buffer(sqe, group);
    sqe.ioprio = static_cast<std::uint16_t>(sqe.ioprio | more);
    return sqe;
}

io_uring_sqe& selecting(Bench& bench, std::uint64_t user_data, RawFd fd, std::size_t length,
                        int flags = 0) {
    auto& sqe = bench.submit(user_data, io_uring_prep_recv, fd, nullptr, length, flags);
    testing::pick_buffer(sqe, group);
    return sqe;
}

}  // namespace

TEST_CASE("a receive takes what is there, waits for what is not, and ends at the end") {
    compare_streams([](Bench& bench, Pair pair) {
        std::array<char, 16> bytes{};
        testing::put(pair.second.get(), "early");
        bench.submit(1, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(), 0);
        (void)bench.expect(1);
        bench.submit(2, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(), 0);
        bench.expect_nothing();
        testing::put(pair.second.get(), "later");
        (void)bench.expect(1);
        bench.note("{}", std::string_view{bytes.data(), 5});
        bench.submit(3, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(), 0);
        (void)bench.turn();
        pair.second.close();
        (void)bench.expect(1);
        bench.submit(4, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(), 0);
        (void)bench.expect(1);
    });
}

TEST_CASE("a receive that may not wait says that there is nothing") {
    compare_streams([](Bench& bench, Pair pair) {
        std::array<char, 16> bytes{};
        bench.submit(1, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(),
                     MSG_DONTWAIT);
        (void)bench.expect(1);
        testing::put(pair.second.get(), "abc");
        bench.submit(2, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(),
                     MSG_DONTWAIT | MSG_PEEK);
        (void)bench.expect(1);
        bench.submit(3, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(), 0)
            .ioprio = IORING_RECVSEND_POLL_FIRST;
        (void)bench.expect(1);
    });
}

TEST_CASE("a receive of all waits for all, and tells what it got when the end came first") {
    compare_streams([](Bench& bench, Pair pair) {
        std::array<char, 10> bytes{};
        bench.submit(1, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(),
                     MSG_WAITALL);
        (void)bench.turn();
        testing::put(pair.second.get(), "0123");
        bench.expect_nothing();
        testing::put(pair.second.get(), "456789abc");
        (void)bench.expect(1);
        bench.note("{}", std::string_view{bytes.data(), bytes.size()});
        bench
            .submit(2, io_uring_prep_recv, pair.first.get(), bytes.data(), bytes.size(),
                    MSG_WAITALL)
            .flags = IOSQE_CQE_SKIP_SUCCESS;
        bench.expect_nothing();
        pair.second.close();
        (void)bench.expect(1);
    });
}

TEST_CASE("a receive of all into a provided buffer fills that buffer") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 4, 10};
        buffers.add_all();
        (void)selecting(bench, 1, pair.first.get(), 10, MSG_WAITALL);
        (void)bench.turn();
        testing::put(pair.second.get(), "0123");
        bench.expect_nothing();
        testing::put(pair.second.get(), "456789");
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        (void)selecting(bench, 2, pair.first.get(), 10);
        (void)bench.turn();
        testing::put(pair.second.get(), "next");
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
    });
}

TEST_CASE("a provided buffer is picked when bytes come, and as many bytes as were asked for") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 4, 8};
        (void)selecting(bench, 1, pair.first.get(), 0);  // none there
        (void)bench.expect(1);
        auto& patient = selecting(bench, 2, pair.first.get(), 0);
        patient.ioprio = IORING_RECVSEND_POLL_FIRST;
        bench.expect_nothing();
        buffers.add(2);
        buffers.add(0);
        testing::put(pair.second.get(), "0123456789");
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        (void)selecting(bench, 3, pair.first.get(), 1);
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        (void)selecting(bench, 4, pair.first.get(), 0);
        (void)bench.expect(1);
        auto& unknown = selecting(bench, 5, pair.first.get(), 0);
        unknown.buf_group = 77;
        (void)bench.expect(1);
    });
}

TEST_CASE("a multishot receive goes on until it is out of buffers, and can be begun again") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 4, 8};
        buffers.add(0);
        buffers.add(1);
        (void)multishot(bench, 1, pair.first.get());
        bench.expect_nothing();
        for (const auto* text : {"one", "two"}) {
            testing::put(pair.second.get(), text);
            for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        }
        testing::put(pair.second.get(), "three");
        (void)bench.expect(1);
        (void)multishot(bench, 2, pair.first.get());
        (void)bench.expect(1);
        buffers.add(1);
        (void)multishot(bench, 3, pair.first.get());
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
    });
}

TEST_CASE("a multishot receive ends with a result of zero at the end of the stream") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 8, 8};
        buffers.add_all();
        (void)multishot(bench, 1, pair.first.get());
        (void)bench.turn();
        testing::put(pair.second.get(), "0123456789abcdef");
        for (const auto& one : bench.expect(2)) bench.note("{}", buffers.text(one));
        REQUIRE(::shutdown(pair.second.get(), SHUT_WR) == 0);
        (void)bench.expect(1);
    });
}

TEST_CASE("a multishot receive that was given a length takes no more at a time") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 8, 8};
        buffers.add_all();
        multishot(bench, 1, pair.first.get()).len = 5;
        (void)bench.turn();
        testing::put(pair.second.get(), "0123456789");
        for (const auto& one : bench.expect(2)) bench.note("{}", buffers.text(one));
    });
}

TEST_CASE("a multishot receive that was given a bound ends when it has received as much") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 8, 4};
        buffers.add_all();
        multishot(bench, 1, pair.first.get()).file_index = 6;  // the place of optlen
        (void)bench.turn();
        testing::put(pair.second.get(), "one");
        (void)bench.expect(1);
        testing::put(pair.second.get(), "two more than that");
        (void)bench.expect(1);  // the one that reaches it
        bench.expect_nothing();
        multishot(bench, 2, pair.first.get()).file_index = 8;
        (void)bench.expect(2);
        bench.submit(3, io_uring_prep_recv, pair.first.get(), nullptr, 0, 0).file_index = 8;
        (void)bench.expect(1);
    });
}

TEST_CASE("a reset ends a receive, a pending one and a new one") {
    compare([](Bench& bench) {
        Buffers buffers{bench.backend, group, 4, 8};
        buffers.add_all();
        auto [near, far] = testing::tcp_pair();
        (void)multishot(bench, 1, near.get());
        (void)bench.turn();
        testing::reset(std::move(far));
        (void)bench.expect(1);
        std::array<char, 4> bytes{};
        bench.submit(2, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0);
        (void)bench.expect(1);
        bench.submit(3, io_uring_prep_send, near.get(), bytes.data(), bytes.size(), 0);
        (void)bench.expect(1);
    });
}

TEST_CASE("datagrams keep their bounds, the empty one too") {
    compare([](Bench& bench) {
        const auto to = testing::bound(SOCK_DGRAM);
        const auto from = testing::bound(SOCK_DGRAM);
        const auto address = testing::address_of(to.get());
        const auto* target = reinterpret_cast<const sockaddr*>(&address);
        Buffers buffers{bench.backend, group, 8, 4};
        buffers.add_all();
        (void)multishot(bench, 1, to.get());
        (void)bench.turn();
        for (const std::string_view text : {"ab", "too long", "c"}) {
            REQUIRE(::sendto(from.get(), text.data(), text.size(), 0, target, sizeof address) ==
                    static_cast<ssize_t>(text.size()));
            for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        }
        REQUIRE(::sendto(from.get(), "", 0, 0, target, sizeof address) == 0);
        (void)bench.expect(1);
        std::array<char, 8> bytes{};
        REQUIRE(::sendto(from.get(), "xyz", 3, 0, target, sizeof address) == 3);
        bench.submit(2, io_uring_prep_recv, to.get(), bytes.data(), bytes.size(), MSG_WAITALL);
        (void)bench.expect(1);
    });
}

TEST_CASE("an incremental buffer is used up message by message") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 2, 16, BufferUse::incremental};
        buffers.add_all();
        (void)multishot(bench, 1, pair.first.get());
        (void)bench.turn();
        for (const std::string_view text : {"0123", "45678", "9abcdefgh", "ij"}) {
            testing::put(pair.second.get(), text);
            (void)bench.expect(text.size() == 9 ? 2 : 1);
            bench.note("{}", buffers.left(0));
            bench.note("{}", buffers.left(1));
        }
        bench.note("{}", std::string_view{buffers.at(100), 20});
        testing::put(pair.second.get(), "0123456789abcdefgh");
        (void)bench.expect(2);  // the rest of the last buffer, then ENOBUFS
        bench.note("{}", buffers.left(1));
    });
}

TEST_CASE("one-shot receives use up an incremental buffer likewise") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 2, 16, BufferUse::incremental};
        buffers.add(0);
        testing::put(pair.second.get(), "0123456789");
        for (std::uint64_t i = 1; i < 4; ++i) {
            (void)selecting(bench, i, pair.first.get(), 3);
            (void)bench.expect(1);
            bench.note("{}", buffers.left(0));
        }
        testing::put(pair.second.get(), "abcdefghi");
        for (std::uint64_t i = 4; i < 6; ++i) {
            (void)selecting(bench, i, pair.first.get(), 0);
            (void)bench.expect(1);
            bench.note("{}", buffers.left(0));
        }
    });
}

TEST_CASE("a bundle takes several buffers in one completion") {
    // How the kernel cuts what is there into completions depends on its peeking; what has to be
    // alike are the bytes, the order of the buffers and the end.
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 16, 4};
        buffers.add_all();
        testing::put(pair.second.get(), "0123456789abcdefghijklmnop");  // 26: seven buffers
        (void)multishot(bench, 1, pair.first.get(), IORING_RECVSEND_BUNDLE);
        std::string all;
        std::size_t next = 100;
        while (all.size() < 26) {
            const auto found = bench.await(1);
            REQUIRE_FALSE(found.empty());
            for (const auto& one : found) {
                REQUIRE(one.result > 0);
                CHECK(one.buffer() == next);
                CHECK(one.more());
                all +=
                    std::string_view{buffers.at(one.buffer()), static_cast<unsigned>(one.result)};
                next += static_cast<std::size_t>(one.result + 3) / 4;
            }
        }
        bench.note("{}", all);
        CHECK(next == 107);
        testing::put(pair.second.get(), "QRST");
        (void)bench.expect(1);
        pair.second.close();
        (void)bench.expect(1);
    });
}

TEST_CASE("a bundle that takes the last buffer ends") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 4, 8};
        buffers.add(0);
        testing::put(pair.second.get(), "0123");
        (void)multishot(bench, 1, pair.first.get(), IORING_RECVSEND_BUNDLE);
        (void)bench.expect(1);
        buffers.add(1);
        buffers.add(2);
        selecting(bench, 2, pair.first.get(), 0).ioprio = IORING_RECVSEND_BUNDLE;
        (void)bench.turn();
        testing::put(pair.second.get(), "4567");
        (void)bench.expect(1);
    });
}

TEST_CASE("groups of buffers are told apart, and one can be left") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        Buffers first{bench.backend, 0, 2, 8};
        Buffers second{bench.backend, 200, 2, 8};
        first.add(1);
        second.add(0);
        for (const std::uint16_t which : {std::uint16_t{200}, std::uint16_t{0}}) {
            testing::put(far.get(), "x");
            selecting(bench, which, near.get(), 0).buf_group = which;
            (void)bench.expect(1);
        }
        bench.note("{}", bench.backend.unregister(200));
        bench.note("{}", bench.backend.unregister(200));
        testing::put(far.get(), "x");
        selecting(bench, 3, near.get(), 0).buf_group = 200;
        (void)bench.expect(1);
    });
}

TEST_CASE("buffer rings of wrong lengths and in use are refused") {
    auto soft = uring::SoftRing::open(4, 4).value();
    std::array<io_uring_buf, 8> entries{};
    auto& ring = reinterpret_cast<io_uring_buf_ring&>(entries);
    CHECK(soft->register_buffers(1, ring, 6, BufferUse::whole) == -EINVAL);
    CHECK(soft->register_buffers(1, ring, 0, BufferUse::whole) == -EINVAL);
    CHECK(soft->register_buffers(1, ring, 1U << 16, BufferUse::whole) == -EINVAL);
    CHECK(soft->register_buffers(1, ring, 8, BufferUse::whole) == 0);
    CHECK(soft->register_buffers(1, ring, 8, BufferUse::whole) == -EEXIST);
    CHECK(soft->unregister_buffers(1) == 0);
    CHECK(soft->unregister_buffers(1) == -ENOENT);
}
