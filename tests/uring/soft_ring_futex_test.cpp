#include <fcntl.h>
#include <liburing.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
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

namespace {

constexpr std::uint64_t any = 0xFFFF'FFFF;
constexpr std::uint32_t u32 = 2;  // FUTEX2_SIZE_U32 and _PRIVATE of linux/futex.h since 6.7
constexpr std::uint32_t own = u32 | 128;

io_uring_sqe& wait(Bench& bench, std::uint64_t user_data, std::uint32_t& word, std::uint64_t value,
                   std::uint64_t mask = any, std::uint32_t flags = own) {
    return bench.submit(user_data, io_uring_prep_futex_wait, &word, value, mask, flags, 0U);
}

void wake(Bench& bench, std::uint64_t user_data, std::uint32_t& word, std::uint64_t count,
          std::uint64_t mask = any, std::uint32_t flags = own) {
    bench.submit(user_data, io_uring_prep_futex_wake, &word, count, mask, flags, 0U);
}

}  // namespace

TEST_CASE("a futex wait ends when it is woken, in the order of the waiters") {
    compare([](Bench& bench) {
        std::uint32_t word = 5;
        (void)wait(bench, 1, word, 5);
        (void)wait(bench, 2, word, 5);
        (void)wait(bench, 3, word, 5);
        bench.expect_nothing();
        wake(bench, 4, word, 1);
        (void)bench.expect(2);
        wake(bench, 5, word, 0);
        (void)bench.expect(1);
        wake(bench, 6, word, 10);
        (void)bench.expect(3);
        wake(bench, 7, word, 10);
        (void)bench.expect(1);
    });
}

TEST_CASE("a futex wait heeds the mask, and does not begin when the word is another") {
    compare([](Bench& bench) {
        std::uint32_t word = 5;
        (void)wait(bench, 1, word, 6);
        (void)wait(bench, 2, word, 5, 0);
        (void)wait(bench, 3, word, 5, any, 1 | 128);
        wake(bench, 4, word, 1, 0);
        wait(bench, 5, word, 5, any, own).len = 1;
        (void)bench.expect(5);
        (void)wait(bench, 6, word, 5, 1);
        (void)wait(bench, 7, word, 5, 2);
        wake(bench, 8, word, 10, 2);
        (void)bench.expect(2);
        bench.submit(9, io_uring_prep_cancel64, 6, 0);
        (void)bench.expect(2);
    });
}

TEST_CASE("a futex wait sees another thread change the word and wake") {
    compare([](Bench& bench) {
        std::uint32_t word = 0;
        (void)wait(bench, 1, word, 0);
        (void)bench.turn();
        std::thread other{[&] {
            std::atomic_ref{word}.store(1);
            (void)::syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr,
                            0);
        }};
        (void)bench.expect(1);
        other.join();
    });
}

TEST_CASE("a futex wake reaches a thread that waits by system call") {
    compare([](Bench& bench) {
        std::uint32_t word = 0;
        std::thread other{[&] {
            while (std::atomic_ref{word}.load() == 0)
                (void)::syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, nullptr,
                                nullptr, 0);
        }};
        std::atomic_ref{word}.store(1);
        wake(bench, 1, word, 100);
        CHECK(bench.await(1).at(0).result >= 0);
        other.join();
    });
}
