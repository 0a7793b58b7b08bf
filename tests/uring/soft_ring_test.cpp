#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.uring;

#include "sockets.h"
#include "soft_ring_bench.h"

using namespace ringfort;
using testing::Bench;
using testing::compare;
using uring::SoftRing;

TEST_CASE("a soft ring's queues are rounded up to powers of two and bounded") {
    auto soft = SoftRing::open(5, 9).value();
    io_uring ring;
    soft->attach(ring);
    CHECK(ring.sq.ring_entries == 8);
    CHECK(ring.cq.ring_entries == 16);
    CHECK(io_uring_sq_space_left(&ring) == 8);
    auto large = SoftRing::open(1'000'000, 1'000'000).value();
    large->attach(ring);
    CHECK(ring.sq.ring_entries == limits::max_ring_submissions);
    CHECK(ring.cq.ring_entries == limits::max_ring_completions);
    CHECK(SoftRing::open(0, 8).error().is(std::errc::invalid_argument));
    CHECK(SoftRing::open(8, 0).error().is(std::errc::invalid_argument));
}

TEST_CASE("a full submission queue hands nothing out until the next enter") {
    auto soft = SoftRing::open(4, 16).value();
    io_uring ring;
    soft->attach(ring);
    for (int i = 0; i < 4; ++i) io_uring_prep_nop(io_uring_get_sqe(&ring));
    CHECK(io_uring_get_sqe(&ring) == nullptr);
    CHECK(io_uring_sq_ready(&ring) == 4);
    CHECK(soft->enter(0, nullptr) == 0);
    CHECK(io_uring_sq_ready(&ring) == 0);
    CHECK(io_uring_cq_ready(&ring) == 4);
    CHECK(io_uring_get_sqe(&ring) != nullptr);
}

TEST_CASE("requests that do nothing, that fail, and that skip their success end alike") {
    compare([](Bench& bench) {
        std::array<char, 16> bytes{};
        auto [near, far] = testing::socket_pair();
        bench.submit(1, io_uring_prep_nop);
        auto& injected = bench.submit(2, io_uring_prep_nop);
        injected.nop_flags = IORING_NOP_INJECT_RESULT;
        injected.len = 77;
        bench.submit(3, io_uring_prep_nop).flags = IOSQE_CQE_SKIP_SUCCESS;
        bench.submit(4, io_uring_prep_nop).flags = IOSQE_BUFFER_SELECT;
        bench.submit(5, io_uring_prep_nop).ioprio = 3;
        bench.submit(6, io_uring_prep_nop).opcode = 250;
        bench.submit(7, io_uring_prep_nop).flags = 0x80;
        bench.submit(8, io_uring_prep_recv, 999, bytes.data(), bytes.size(), 0);
        bench.submit(9, io_uring_prep_recv, -1, bytes.data(), bytes.size(), 0);
        bench.submit(10, io_uring_prep_recv, 999, bytes.data(), bytes.size(), 0).flags =
            IOSQE_CQE_SKIP_SUCCESS;
        bench.submit(11, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0).flags =
            IOSQE_FIXED_FILE;
        bench.submit(12, io_uring_prep_send, near.get(), bytes.data(), bytes.size(), 0).flags =
            IOSQE_CQE_SKIP_SUCCESS;
        bench.submit(13, io_uring_prep_nop).flags = IOSQE_ASYNC;
        bench.submit(14, io_uring_prep_recv, near.get(), bytes.data(), bytes.size(), 0).off = 1;
        bench.submit(15, io_uring_prep_recv_multishot, near.get(), nullptr, std::size_t{0}, 0);
        bench.submit(16, io_uring_prep_shutdown, near.get(), 7);
        bench.submit(17, io_uring_prep_shutdown, 999, SHUT_WR);
        bench.submit(18, io_uring_prep_shutdown, STDIN_FILENO, SHUT_WR).off = 3;
        (void)bench.expect(16);
        bench.note("sent {}", testing::get(far.get()).size());
    });
}

TEST_CASE("what a soft ring does not do, it says") {
    testing::SoftBackend backend{16, 16};
    Bench bench{backend};
    std::array<char, 4> bytes{};
    auto [near, far] = testing::socket_pair();
    bench.submit(1, io_uring_prep_nop).flags = IOSQE_IO_LINK;
    bench.submit(2, io_uring_prep_nop).flags = IOSQE_IO_DRAIN;
    bench.submit(3, io_uring_prep_send_zc, near.get(), bytes.data(), bytes.size(), 0, 0U);
    bench.submit(4, io_uring_prep_nop).personality = 1;
    const auto found = bench.await(4);
    REQUIRE(found.size() == 4);
    CHECK(found[0].result == -EINVAL);
    CHECK(found[1].result == -EINVAL);
    CHECK(found[2].result == -EOPNOTSUPP);
    CHECK(found[3].result == -EINVAL);
    CHECK(SoftRing::supports(IORING_OP_RECV));
    CHECK_FALSE(SoftRing::supports(IORING_OP_SEND_ZC));
    CHECK_FALSE(SoftRing::supports(255));
}

TEST_CASE("completions beyond the queue come later, in order, and none is lost") {
    compare(
        [](Bench& bench) {
            for (unsigned round = 0; round < 3; ++round) {
                for (unsigned i = 0; i < 4; ++i) bench.submit(round * 4 + i, io_uring_prep_nop);
                (void)bench.backend.enter(0, {});
            }
            bench.note("ready {}", io_uring_cq_ready(&bench.backend.ring));
            bench.note("overflow {}", io_uring_cq_has_overflow(&bench.backend.ring));
            while (bench.taken.size() < 12) {
                const auto before = bench.taken.size();
                (void)bench.turn();
                REQUIRE(bench.taken.size() > before);
            }
            for (const auto& one : bench.taken) bench.note("{}", one.user_data);
            bench.note("overflow {}", io_uring_cq_has_overflow(&bench.backend.ring));
        },
        {.submissions = 4, .completions = 4});
}

TEST_CASE("an enter waits for as many completions as it is told, or its limit") {
    compare([](Bench& bench) {
        bench.note("none, no wait: {}", bench.turn(1, 0));
        bench.note("none, 20 ms: {}", bench.turn(1, 20));
        bench.submit(1, io_uring_prep_nop);
        bench.note("one of two: {}", bench.turn(2, 20));
        bench.note("taken {}", bench.taken.size());
        bench.submit(2, io_uring_prep_nop);
        bench.submit(3, io_uring_prep_nop);
        bench.note("two of two: {}", bench.turn(2, 1000));
        bench.note("taken {}", bench.taken.size());
        bench.note("asked for none: {}", bench.turn(0, 1000));
    });
}

TEST_CASE("a time limit is kept, and not rounded to milliseconds by much") {
    testing::SoftBackend backend{4, 4};
    const auto before = std::chrono::steady_clock::now();
    int result = -EINTR;
    for (int i = 0; i < 100 && result == -EINTR; ++i)
        result = backend.enter(1, {.tv_sec = 0, .tv_nsec = 12'300'000});
    CHECK(result == -ETIME);
    const auto passed = std::chrono::steady_clock::now() - before;
    CHECK(passed >= std::chrono::microseconds{12'300});
    CHECK(passed < std::chrono::seconds{2});
}

TEST_CASE("a signal ends a wait with EINTR") {
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = [](int) {};
    REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
    compare([](Bench& bench) {
        const itimerval soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 20'000}};
        REQUIRE(::setitimer(ITIMER_REAL, &soon, nullptr) == 0);
        bench.note("{}", bench.backend.enter(1, {.tv_sec = 5, .tv_nsec = 0}));
    });
    REQUIRE(::sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST_CASE("a thousand pairs play ping-pong without a word about them to epoll") {
    constexpr std::size_t pairs = 1'000;
    constexpr unsigned rounds = 20;
    testing::SoftBackend backend{4'096, 8'192};
    Bench bench{backend};
    struct Pair {
        Fd near;
        Fd far;
        std::array<char, 64> in{};
        std::array<char, 64> out{};
        unsigned done = 0;
    };
    std::vector<std::unique_ptr<Pair>> all;
    for (std::size_t i = 0; i < pairs; ++i) {
        auto [near, far] = testing::socket_pair();
        all.push_back(std::make_unique<Pair>(std::move(near), std::move(far)));
    }
    const auto receive = [&](std::size_t i) {
        bench.submit(i, io_uring_prep_recv, all[i]->near.get(), all[i]->in.data(),
                     all[i]->in.size(), 0);
    };
    for (std::size_t i = 0; i < pairs; ++i) {
        receive(i);
        testing::put(all[i]->far.get(), "ping");
    }
    std::size_t left = pairs;
    std::uint64_t settled = 0;
    for (int turns = 0; left > 0 && turns < 1'000'000; ++turns) {
        (void)bench.turn(1, 1'000);
        if (settled == 0) settled = backend.soft->statistics().registrations;
        for (const auto& one : std::exchange(bench.taken, {})) {
            Pair& pair = *all[one.user_data % pairs];
            if (one.user_data >= pairs) continue;  // sent
            REQUIRE(one.result == 4);
            REQUIRE(std::string_view{pair.in.data(), 4} == "ping");
            bench.submit(one.user_data + pairs, io_uring_prep_send, pair.near.get(), pair.in.data(),
                         std::size_t{4}, MSG_WAITALL);
            if (++pair.done == rounds) {
                --left;
                continue;
            }
            receive(one.user_data);
            (void)testing::get(pair.far.get());
            testing::put(pair.far.get(), "ping");
        }
    }
    CHECK(left == 0);
    // Each was registered at most once; what is more, only to check what was kept for long.
    CHECK(backend.soft->statistics().registrations <= 3 * pairs);
    CHECK(backend.soft->statistics().rebuilds == 0);
}
