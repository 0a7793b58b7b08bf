#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
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

namespace {

/// Takes the descriptors away that a process could still open, but `left`.
class FewDescriptors {
public:
    explicit FewDescriptors(unsigned left) {
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
        Fd next{::dup(STDIN_FILENO)};
        auto fewer = before_;
        fewer.rlim_cur = static_cast<rlim_t>(next.get()) + left;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &fewer) == 0);
    }
    FewDescriptors(FewDescriptors&&) = delete;
    ~FewDescriptors() { (void)::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

io_uring_sqe& accept(Bench& bench, std::uint64_t user_data, RawFd listener, unsigned priority = 0) {
    auto& sqe =
        bench.submit(user_data, io_uring_prep_accept, listener, nullptr, nullptr, SOCK_CLOEXEC);
    sqe.ioprio = static_cast<std::uint16_t>(priority);
    return sqe;
}

io_uring_sqe& connect(Bench& bench, std::uint64_t user_data, RawFd socket,
                      const sockaddr_in& address) {
    return bench.submit(user_data, io_uring_prep_connect, socket,
                        reinterpret_cast<const sockaddr*>(&address), socklen_t{sizeof address});
}

Fd stream() {
    return Fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
}

}  // namespace

TEST_CASE("a connection is accepted that has come or comes") {
    compare([](Bench& bench) {
        const auto door = testing::listener();
        const auto early = testing::connected(door.get());
        (void)accept(bench, 1, door.get());
        auto fds = bench.expect_fds(1);
        REQUIRE(fds.size() == 1);
        bench.note("{} {}", ::fcntl(fds[0].get(), F_GETFD),
                   ::fcntl(fds[0].get(), F_GETFL) & O_NONBLOCK);
        (void)accept(bench, 2, door.get());
        bench.expect_nothing();
        const auto late = testing::connected(door.get());
        (void)bench.expect_fds(1);
        (void)accept(bench, 3, door.get(), IORING_ACCEPT_DONTWAIT);
        (void)bench.expect_fds(1);
        const auto third = testing::connected(door.get());
        (void)accept(bench, 4, door.get(), IORING_ACCEPT_DONTWAIT);
        (void)bench.expect_fds(1);
    });
}

TEST_CASE("an accept tells the peer's address and heeds its flags") {
    compare([](Bench& bench) {
        const auto door = testing::listener();
        const auto peer = testing::connected(door.get());
        sockaddr_in address{};
        socklen_t length = sizeof address;
        bench.submit(1, io_uring_prep_accept, door.get(), reinterpret_cast<sockaddr*>(&address),
                     &length, SOCK_NONBLOCK);
        auto fds = bench.expect_fds(1);
        REQUIRE(fds.size() == 1);
        bench.note("{} {} {}", length, address.sin_port == testing::address_of(peer.get()).sin_port,
                   (::fcntl(fds[0].get(), F_GETFL) & O_NONBLOCK) != 0);
    });
}

TEST_CASE("a multishot accept goes on until it fails") {
    compare([](Bench& bench) {
        const auto door = testing::listener();
        bench.submit(1, io_uring_prep_multishot_accept, door.get(), nullptr, nullptr, 0);
        (void)bench.turn();
        std::vector<Fd> peers;
        for (int i = 0; i < 3; ++i) {
            peers.push_back(testing::connected(door.get()));
            (void)bench.expect_fds(1);
        }
        for (int i = 0; i < 50; ++i) peers.push_back(testing::connected(door.get()));
        const auto more = bench.expect_fds(50);
        REQUIRE(::shutdown(door.get(), SHUT_RDWR) == 0);
        (void)bench.expect_fds(1);
    });
}

TEST_CASE("accepts of what is no listener fail") {
    compare([](Bench& bench) {
        const auto socket = stream();
        const auto [near, far] = testing::socket_pair();
        (void)accept(bench, 1, socket.get());
        (void)accept(bench, 2, near.get());
        (void)accept(bench, 3, 999);
        accept(bench, 4, socket.get()).accept_flags = 1;
        accept(bench, 5, socket.get()).len = 1;
        std::array<int, 2> ends{};
        REQUIRE(::pipe(ends.data()) == 0);
        const Fd in{ends[0]};
        const Fd out{ends[1]};
        (void)accept(bench, 6, in.get());
        (void)bench.expect(6);
    });
}

TEST_CASE("an accept without a free descriptor says EMFILE, connection or not") {
    compare([](Bench& bench) {
        const auto door = testing::listener();
        const auto waiting = testing::connected(door.get());
        {
            const FewDescriptors none{0};
            (void)accept(bench, 1, door.get());
            (void)accept(bench, 2, door.get(), IORING_ACCEPT_MULTISHOT);
            (void)bench.expect_fds(2);
        }
        (void)accept(bench, 3, door.get());
        (void)bench.expect_fds(1);
        std::vector<Fd> peers;
        for (int i = 0; i < 3; ++i) peers.push_back(testing::connected(door.get()));
        const FewDescriptors one{1};
        (void)accept(bench, 4, door.get(), IORING_ACCEPT_MULTISHOT);
        const auto fds = bench.expect_fds(2);
    });
}

TEST_CASE("a socket is connected, and stays in blocking mode") {
    compare([](Bench& bench) {
        const auto door = testing::listener();
        const auto socket = stream();
        const auto address = testing::address_of(door.get());
        (void)connect(bench, 1, socket.get(), address);
        (void)bench.expect(1);
        bench.note("{}", ::fcntl(socket.get(), F_GETFL) & O_NONBLOCK);
        (void)connect(bench, 2, socket.get(), address);
        (void)bench.expect(1);
        (void)connect(bench, 3, 999, address);
        (void)connect(bench, 4, STDIN_FILENO, address);
        connect(bench, 5, socket.get(), address).len = 3;
        (void)bench.expect(3);
    });
}

TEST_CASE("a refused connection says so, every time") {
    compare([](Bench& bench) {
        sockaddr_in address{};
        {
            const auto gone = testing::bound(SOCK_STREAM);
            address = testing::address_of(gone.get());
        }
        const auto socket = stream();
        for (std::uint64_t i = 1; i < 4; ++i) {
            (void)connect(bench, i, socket.get(), address);
            (void)bench.expect(1);
        }
    });
}

TEST_CASE("a connection that nobody answers waits, and can be cancelled") {
    compare([](Bench& bench) {
        // A full queue of an accept that never comes: the kernel drops what else arrives.
        const auto door = testing::listener(0);
        const auto address = testing::address_of(door.get());
        std::vector<Fd> stuck;
        for (std::uint64_t i = 0; i < 3; ++i) {
            stuck.push_back(stream());
            (void)connect(bench, i, stuck.back().get(), address);
        }
        (void)bench.await(1);
        (void)bench.turn(1, 20);
        bench.taken.clear();
        bench.submit(9, io_uring_prep_cancel64, 2, 0);
        (void)bench.expect(2);
    });
}

TEST_CASE("a unix socket is connected once its listener's queue has room") {
    compare([](Bench& bench) {
        const Fd door{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const sa_family_t family = AF_UNIX;  // an address alone lets the kernel choose a name
        REQUIRE(::bind(door.get(), reinterpret_cast<const sockaddr*>(&address), sizeof family) ==
                0);
        socklen_t length = sizeof address;
        REQUIRE(::getsockname(door.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
        REQUIRE(::listen(door.get(), 0) == 0);
        const Fd first{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const Fd second{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const auto* target = reinterpret_cast<const sockaddr*>(&address);
        bench.submit(1, io_uring_prep_connect, first.get(), target, length);
        (void)bench.expect(1);
        bench.submit(2, io_uring_prep_connect, second.get(), target, length);
        bench.expect_nothing();
        const Fd accepted{::accept(door.get(), nullptr, nullptr)};
        (void)bench.expect(1);
    });
}
