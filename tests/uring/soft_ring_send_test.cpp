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
#include <cstring>
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

io_uring_sqe& selecting(Bench& bench, std::uint64_t user_data, RawFd fd, std::size_t length,
                        unsigned priority = 0) {
    auto& sqe = bench.submit(user_data, io_uring_prep_send, fd, nullptr, length, 0);
    testing::pick_buffer(sqe, group);
    sqe.ioprio = static_cast<std::uint16_t>(priority);
    return sqe;
}

/// Reads until `count` bytes have come, letting the ring work between.
std::string drain(Bench& bench, RawFd from, std::size_t count) {
    std::string all;
    for (int i = 0; i < 10'000 && all.size() < count; ++i) {
        const auto more = testing::get(from);
        all += more;
        (void)bench.turn(more.empty() ? 1 : 0, 1);  // TCP takes its time when buffers are small
    }
    return all;
}

std::string pattern(std::size_t length) {
    std::string text(length, '\0');
    for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>('a' + i % 23);
    return text;
}

}  // namespace

TEST_CASE("a send of all goes on until the last byte is taken") {
    compare_streams([](Bench& bench, Pair pair) {
        testing::shrink(pair.first.get(), 8'192);
        const auto text = pattern(1'000'000);
        bench.submit(1, io_uring_prep_send, pair.first.get(), text.data(), text.size(),
                     MSG_WAITALL);
        bench.expect_nothing();
        bench.note("{}", drain(bench, pair.second.get(), text.size()) == text);
        (void)bench.expect(1);
    });
}

TEST_CASE("a quiet send of all that is taken at once is answered only if that is not all") {
    // Over unix sockets alone: TCP may move bytes on after it had no room.
    compare([](Bench& bench) {
        const auto pair = testing::socket_pair();
        testing::shrink(pair.first.get(), 8'192);
        const auto text = pattern(1'000'000);
        const auto send_quietly = [&](std::uint64_t tag, std::size_t length) {
            bench
                .submit(tag, io_uring_prep_send, pair.first.get(), text.data(), length,
                        MSG_DONTWAIT | MSG_WAITALL)
                .flags |= IOSQE_CQE_SKIP_SUCCESS;
        };
        send_quietly(1, 100);
        bench.expect_nothing();
        send_quietly(2, text.size());
        const auto part = bench.await(1);
        REQUIRE(part.size() == 1);
        bench.note("{} {}", part[0].user_data, part[0].result > 0 && part[0].result < 1'000'000);
        while (::send(pair.first.get(), text.data(), 1, MSG_DONTWAIT) == 1) {
        }
        send_quietly(3, 100);
        (void)bench.expect(1);
        bench.expect_nothing();
    });
}

TEST_CASE("a plain send tells how much was taken, and waits when nothing is") {
    // Over unix sockets alone: TCP may move bytes on after it had no room.
    compare([](Bench& bench) {
        const auto pair = testing::socket_pair();
        testing::shrink(pair.first.get(), 8'192);
        const auto text = pattern(1'000'000);
        bench.submit(1, io_uring_prep_send, pair.first.get(), text.data(), text.size(), 0);
        const auto first = bench.await(1);
        REQUIRE(first.size() == 1);
        const auto taken = static_cast<std::size_t>(first[0].result);
        bench.note("{} {}", first[0].result > 0, taken < text.size());
        while (::send(pair.first.get(), text.data(), 1, MSG_DONTWAIT) == 1) {
        }
        bench.submit(2, io_uring_prep_send, pair.first.get(), text.data(), 3, MSG_DONTWAIT);
        (void)bench.expect(1);
        bench.submit(3, io_uring_prep_send, pair.first.get(), "end", 3, 0);
        bench.expect_nothing();
        std::string all;
        for (int i = 0; i < 10'000 && !all.ends_with("end"); ++i) {
            all += testing::get(pair.second.get());
            (void)bench.turn(1, 1);
        }
        bench.note("{}", all.ends_with("end"));
        (void)bench.expect(1);
    });
}

TEST_CASE("sends that wait for one socket keep their order on a soft ring") {
    testing::SoftBackend backend{16, 64};
    Bench bench{backend};
    auto [near, far] = testing::socket_pair();
    testing::shrink(near.get(), 8'192);
    const auto first = pattern(300'000);
    bench.submit(1, io_uring_prep_send, near.get(), first.data(), first.size(), MSG_WAITALL);
    bench.submit(2, io_uring_prep_send, near.get(), "0123", 4, MSG_WAITALL);
    bench.submit(3, io_uring_prep_send, near.get(), "4567", 4, MSG_WAITALL);
    CHECK(drain(bench, far.get(), first.size() + 8) == first + "01234567");
    CHECK(bench.await(3).size() == 3);
}

TEST_CASE("a send to a peer that is gone fails without a signal") {
    compare_streams([](Bench& bench, Pair pair) {
        pair.second.close();
        for (std::uint64_t i = 1; i < 4; ++i) {
            bench.submit(i, io_uring_prep_send, pair.first.get(), "abc", 3, MSG_WAITALL);
            const auto found = bench.await(1);
            if (i == 3) bench.note("{} {:#x}", found.at(0).result, found.at(0).flags);
        }
    });
}

TEST_CASE("a send that waits ends with the bytes taken when the peer goes") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        testing::shrink(near.get(), 8'192);
        const auto text = pattern(1'000'000);
        bench.submit(1, io_uring_prep_send, near.get(), text.data(), text.size(), MSG_WAITALL);
        (void)bench.turn();
        far.close();
        const auto found = bench.await(1);
        REQUIRE(found.size() == 1);
        bench.note("{} {} {:#x}", found[0].result > 0, found[0].result < 1'000'000, found[0].flags);
    });
}

TEST_CASE("a provided buffer is sent, whole or as much as was asked for") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 4, 8};
        std::memcpy(buffers.at(100), "01234567abcdefgh", 16);
        (void)selecting(bench, 1, pair.first.get(), 0);
        (void)bench.expect(1);
        buffers.add(0);
        buffers.add(1, 5);
        (void)selecting(bench, 2, pair.first.get(), 3);
        (void)bench.expect(1);
        (void)selecting(bench, 3, pair.first.get(), 0);
        (void)bench.expect(1);
        bench.note("{}", testing::get(pair.second.get()));
        buffers.add(2);
        pair.second.close();
        (void)::send(pair.first.get(), "x", 1, MSG_NOSIGNAL);
        (void)selecting(bench, 4, pair.first.get(), 0);
        (void)bench.expect(1);
    });
}

TEST_CASE("a bundle sends every provided buffer there is") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 8, 8};
        std::memcpy(buffers.at(100), "01234567abcdefghABCDEFGH", 24);
        buffers.add(2);
        buffers.add(0);
        buffers.add(1, 3);
        (void)selecting(bench, 1, pair.first.get(), 0, IORING_RECVSEND_BUNDLE);
        (void)bench.expect(1);
        bench.note("{}", testing::get(pair.second.get()));
        (void)selecting(bench, 2, pair.first.get(), 0, IORING_RECVSEND_BUNDLE);
        (void)bench.expect(1);
        buffers.add(0);
        buffers.add(1);
        buffers.add(2);
        (void)selecting(bench, 3, pair.first.get(), 8, IORING_RECVSEND_BUNDLE);
        (void)bench.expect(2);  // as much as asked for, then the rest
        bench.note("{}", testing::get(pair.second.get()));
    });
}

TEST_CASE("a bundle that a socket has no room for goes on later") {
    compare_streams([](Bench& bench, Pair pair) {
        testing::shrink(pair.first.get(), 8'192);
        constexpr unsigned count = 16;
        constexpr std::size_t size = 60'000;
        Buffers buffers{bench.backend, group, count, size};
        const auto text = pattern(count * size);
        std::memcpy(buffers.at(100), text.data(), text.size());
        buffers.add_all();
        (void)selecting(bench, 1, pair.first.get(), 0, IORING_RECVSEND_BUNDLE);
        bench.expect_nothing();
        bench.note("{}", drain(bench, pair.second.get(), text.size()) == text);
        (void)bench.expect(1);
    });
}

TEST_CASE("incremental buffers are sent in parts") {
    compare_streams([](Bench& bench, Pair pair) {
        Buffers buffers{bench.backend, group, 4, 8, BufferUse::incremental};
        std::memcpy(buffers.at(100), "01234567abcdefgh", 16);
        buffers.add(0);
        buffers.add(1);
        for (std::uint64_t i = 1; i < 4; ++i) {
            (void)selecting(bench, i, pair.first.get(), 3);
            (void)bench.expect(1);
            bench.note("{} {}", testing::get(pair.second.get()), buffers.left(0));
        }
        (void)selecting(bench, 4, pair.first.get(), 0, IORING_RECVSEND_BUNDLE);
        (void)bench.expect(1);
        bench.note("{}", testing::get(pair.second.get()));
    });
}

TEST_CASE("a datagram is sent to the address it was given, which may be reused at once") {
    compare([](Bench& bench) {
        const auto to = testing::bound(SOCK_DGRAM);
        const auto from = testing::bound(SOCK_DGRAM);
        auto address = testing::address_of(to.get());
        auto& sqe =
            bench.submit(1, io_uring_prep_sendto, from.get(), "hello", 5, 0,
                         reinterpret_cast<const sockaddr*>(&address), socklen_t{sizeof address});
        sqe.flags |= 0;
        (void)bench.expect(1);
        bench.note("{}", testing::get(to.get()));
        bench.submit(2, io_uring_prep_send, from.get(), "nowhere", 7, 0);
        (void)bench.expect(1);
    });
}
