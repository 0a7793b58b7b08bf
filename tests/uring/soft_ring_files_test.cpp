#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
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

#include "../temp_dir.h"
#include "sockets.h"
#include "soft_ring_bench.h"
#include "soft_ring_sockets.h"

using namespace ringfort;
using testing::Bench;
using testing::Buffers;
using testing::compare;

namespace {

/// A file of its own, gone with it.
class File {
public:
    File() { REQUIRE(fd); }
    File(File&&) = delete;
    testing::TempDir directory;
    std::string path = directory.file("file");
    Fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
};

std::pair<Fd, Fd> pipe() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    return {Fd{ends[0]}, Fd{ends[1]}};
}

constexpr std::uint64_t current = ~std::uint64_t{0};

}  // namespace

TEST_CASE("a file is opened, written, read, synced, stat'ed and closed") {
    compare([](Bench& bench) {
        const File file;
        bench.submit(1, io_uring_prep_openat, AT_FDCWD, file.path.c_str(), O_RDWR | O_CLOEXEC,
                     mode_t{0});
        auto fds = bench.expect_fds(1);
        REQUIRE(fds.size() == 1);
        const RawFd fd = fds[0].get();
        std::array<char, 8> bytes{};
        bench.submit(2, io_uring_prep_write, fd, "0123456789", 10U, std::uint64_t{0});
        (void)bench.expect(1);
        bench.submit(3, io_uring_prep_read, fd, bytes.data(), 8U, std::uint64_t{4});
        (void)bench.expect(1);
        bench.note("{}", std::string_view{bytes.data(), 6});
        for (std::uint64_t i = 4; i < 7; ++i) {
            bench.submit(i, io_uring_prep_read, fd, bytes.data(), 8U, current);
            (void)bench.expect(1);
        }
        bench.submit(7, io_uring_prep_write, fd, "end", 3U, current);
        (void)bench.expect(1);
        bench.submit(8, io_uring_prep_fsync, fd, 0U);
        bench.submit(9, io_uring_prep_fsync, fd, unsigned{IORING_FSYNC_DATASYNC});
        bench.submit(10, io_uring_prep_fsync, fd, 8U);
        (void)bench.expect(3);
        struct statx status{};
        bench.submit(11, io_uring_prep_statx, AT_FDCWD, file.path.c_str(), 0, unsigned{STATX_SIZE},
                     &status);
        (void)bench.expect(1);
        bench.note("{}", status.stx_size);
        bench.submit(12, io_uring_prep_close, fds[0].release());
        (void)bench.expect(1);
        bench.note("{}", ::fcntl(fd, F_GETFD));
        bench.submit(13, io_uring_prep_close, 999);
        bench.submit(14, io_uring_prep_close, -1);
        bench.submit(15, io_uring_prep_openat, AT_FDCWD, "/nowhere/at/all", O_RDONLY, mode_t{0});
        bench.submit(16, io_uring_prep_statx, AT_FDCWD, "/nowhere/at/all", 0, unsigned{STATX_SIZE},
                     &status);
        bench.submit(17, io_uring_prep_read, 999, bytes.data(), 8U, current);
        bench.submit(18, io_uring_prep_read, file.fd.get(), bytes.data(), 0U, std::uint64_t{0});
        bench.submit(19, io_uring_prep_close, 7).len = 1;
        (void)bench.expect(7);
    });
}

TEST_CASE("a pipe is read when something is written, at whatever offset, and to its end") {
    compare([](Bench& bench) {
        auto [in, out] = pipe();
        std::array<char, 8> bytes{};
        bench.submit(1, io_uring_prep_read, in.get(), bytes.data(), 8U, current);
        bench.expect_nothing();
        testing::put(out.get(), "abc");
        (void)bench.expect(1);
        testing::put(out.get(), "defghijklmno");
        bench.submit(2, io_uring_prep_read, in.get(), bytes.data(), 8U, std::uint64_t{7});
        (void)bench.expect(1);
        bench.note("{}", std::string_view{bytes.data(), 8});
        bench.submit(3, io_uring_prep_read, in.get(), bytes.data(), 8U, std::uint64_t{0});
        (void)bench.expect(1);
        bench.submit(4, io_uring_prep_read, in.get(), bytes.data(), 8U, std::uint64_t{0});
        (void)bench.turn();
        out.close();
        (void)bench.expect(1);
    });
}

TEST_CASE("a full pipe is written when it has room") {
    compare([](Bench& bench) {
        auto [in, out] = pipe();
        std::string much(100'000, 'x');
        REQUIRE(::fcntl(out.get(), F_SETPIPE_SZ, 4'096) == 4'096);
        bench.submit(1, io_uring_prep_write, out.get(), much.data(), 4'096U, current);
        (void)bench.expect(1);
        bench.submit(2, io_uring_prep_write, out.get(), "abc", 3U, current);
        bench.expect_nothing();
        REQUIRE(::read(in.get(), much.data(), much.size()) == 4'096);
        (void)bench.expect(1);
        REQUIRE(::read(in.get(), much.data(), much.size()) == 3);
    });
}

TEST_CASE("event, timer and signal descriptors are read when they are ready") {
    compare([](Bench& bench) {
        const Fd event{::eventfd(0, EFD_CLOEXEC)};
        const Fd timer{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)};
        sigset_t signals;
        sigset_t before;
        sigemptyset(&signals);
        sigaddset(&signals, SIGUSR2);
        REQUIRE(::pthread_sigmask(SIG_BLOCK, &signals, &before) == 0);
        const Fd signal{::signalfd(-1, &signals, SFD_CLOEXEC)};
        std::uint64_t count = 0;
        std::uint64_t ticks = 0;
        signalfd_siginfo info{};
        bench.submit(1, io_uring_prep_read, event.get(), &count, unsigned{sizeof count}, current);
        bench.submit(2, io_uring_prep_read, timer.get(), &ticks, unsigned{sizeof ticks},
                     std::uint64_t{0});
        bench.submit(3, io_uring_prep_read, signal.get(), &info, unsigned{sizeof info}, current);
        bench.expect_nothing();
        const std::uint64_t five = 5;
        REQUIRE(::write(event.get(), &five, sizeof five) == sizeof five);
        (void)bench.expect(1);
        bench.note("{}", count);
        REQUIRE(::raise(SIGUSR2) == 0);
        (void)bench.expect(1);
        bench.note("{}", info.ssi_signo);
        itimerspec soon{};
        soon.it_value.tv_nsec = 1'000'000;
        REQUIRE(::timerfd_settime(timer.get(), 0, &soon, nullptr) == 0);
        (void)bench.expect(1);
        bench.note("{}", ticks);
        bench.submit(4, io_uring_prep_write, event.get(), &five, unsigned{sizeof five}, current);
        bench.submit(5, io_uring_prep_read, event.get(), &count, unsigned{sizeof count}, current);
        bench.submit(6, io_uring_prep_read, event.get(), &count, 3U, current);
        (void)bench.expect(3);
        REQUIRE(::pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
    });
}

TEST_CASE("sockets are read and written as files, and devices too") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        std::array<char, 8> bytes{};
        bench.submit(1, io_uring_prep_read, near.get(), bytes.data(), 8U, current);
        bench.expect_nothing();
        bench.submit(2, io_uring_prep_write, far.get(), "hello", 5U, std::uint64_t{0});
        (void)bench.expect(2);
        const Fd zero{::open("/dev/zero", O_RDWR | O_CLOEXEC)};
        bench.submit(3, io_uring_prep_read, zero.get(), bytes.data(), 8U, std::uint64_t{0});
        bench.submit(4, io_uring_prep_write, zero.get(), bytes.data(), 8U, current);
        (void)bench.expect(2);
        const Fd folder{::open("/tmp", O_RDONLY | O_CLOEXEC)};
        bench.submit(5, io_uring_prep_read, folder.get(), bytes.data(), 8U, std::uint64_t{0});
        (void)bench.expect(1);
    });
}

TEST_CASE("a read picks a provided buffer") {
    compare([](Bench& bench) {
        auto [in, out] = pipe();
        Buffers buffers{bench.backend, 1, 4, 8};
        const auto read = [&](std::uint64_t user_data) {
            auto& sqe = bench.submit(user_data, io_uring_prep_read, in.get(), nullptr, 0U, current);
            testing::pick_buffer(sqe, 1);
        };
        read(1);
        (void)bench.expect(1);
        buffers.add(2);
        testing::put(out.get(), "0123456789");
        read(2);
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        read(3);
        (void)bench.expect(1);
    });
}

TEST_CASE("a request waits on although its descriptor was closed, and on the number's next file") {
    testing::SoftBackend backend{16, 16};
    Bench bench{backend};
    std::array<char, 8> bytes{};
    auto [near, far] = testing::socket_pair();
    const RawFd number = near.get();
    bench.submit(1, io_uring_prep_recv, number, bytes.data(), bytes.size(), 0);
    (void)bench.turn();
    bench.submit(2, io_uring_prep_close, near.release());
    CHECK(bench.await(1).at(0).user_data == 2);
    auto [next, other] = testing::socket_pair();
    REQUIRE(next.get() == number);
    testing::put(other.get(), "new");
    bench.submit(3, io_uring_prep_recv, number, bytes.data(), bytes.size(), 0);
    const auto found = bench.await(1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].user_data == 3);
    CHECK(found[0].result == 3);
    bench.submit(4, io_uring_prep_cancel64, 1, 0);
    const auto cancelled = bench.await(2);
    REQUIRE(cancelled.size() == 2);
    CHECK(cancelled[0].result == -ECANCELED);
    CHECK(cancelled[1].result == 0);
}

TEST_CASE("the soft ring's own descriptors cannot be closed through it") {
    testing::SoftBackend backend{16, 16};
    Bench bench{backend};
    const Fd next{::dup(STDIN_FILENO)};
    bench.submit(1, io_uring_prep_close, next.get() - 1);
    const auto found = bench.await(1);
    CHECK(found.at(0).result == -EBADF);
}
