#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
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
using uring::BufferUse;

namespace {

struct Soft {
    testing::SoftBackend backend{256, 1024};
    Bench bench{backend};
    std::array<char, 64> bytes{};

    void receive(std::uint64_t user_data, RawFd fd) {
        bench.submit(user_data, io_uring_prep_recv, fd, bytes.data(), bytes.size(), 0);
    }
    /// Has a descriptor registered: a receive waits for it and is answered.
    void receive_old(const Fd& near, const Fd& far) {
        receive(1, near.get());
        (void)bench.turn();
        testing::put(far.get(), "old");
        REQUIRE(bench.await(1).size() == 1);
    }
    [[nodiscard]] const uring::SoftRingStatistics& count() const {
        return backend.soft->statistics();
    }
};

/// Hands a duplicate of `fd` to a process of its own, which keeps it until told to end.
class Keeper {
public:
    explicit Keeper(RawFd fd) {
        std::array<int, 2> ends{};
        REQUIRE(::pipe(ends.data()) == 0);
        child_ = ::fork();
        if (child_ == 0) {
            ::close(ends[1]);
            char byte = 0;
            (void)!::read(ends[0], &byte, 1);
            ::_exit(fd >= 0 ? 0 : 1);
        }
        ::close(ends[0]);
        wake_ = Fd{ends[1]};
    }
    Keeper(Keeper&&) = delete;
    ~Keeper() {
        wake_.close();
        (void)::waitpid(child_, nullptr, 0);
    }

private:
    pid_t child_ = -1;
    Fd wake_;
};

}  // namespace

TEST_CASE("a number closed behind the soft ring's back is not mistaken for its next file") {
    Soft soft;
    auto [near, far] = testing::socket_pair();
    const RawFd number = near.get();
    soft.receive_old(near, far);
    near.close();  // its registration is gone, and nobody said so
    auto [next, other] = testing::socket_pair();
    REQUIRE(next.get() == number);
    soft.receive(2, number);
    (void)soft.bench.turn();
    testing::put(other.get(), "new");
    const auto before = std::chrono::steady_clock::now();
    const auto found = soft.bench.await(1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].user_data == 2);
    CHECK(found[0].result == 3);
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::milliseconds{500});
}

TEST_CASE("a number that was forgotten is registered anew at once") {
    Soft soft;
    auto [near, far] = testing::socket_pair();
    const RawFd number = near.get();
    soft.receive_old(near, far);
    soft.backend.soft->forget(number);
    near.close();
    auto [next, other] = testing::socket_pair();
    REQUIRE(next.get() == number);
    soft.receive(2, number);
    (void)soft.bench.turn();
    testing::put(other.get(), "new");
    CHECK(soft.bench.turn(1, 1'000) == 0);
    REQUIRE(soft.bench.taken.size() == 1);
    CHECK(soft.bench.taken[0].user_data == 2);
    CHECK(soft.count().registrations == 3);  // added, deleted, added
}

TEST_CASE("a registration whose file lives on elsewhere does not keep the ring awake") {
    Soft soft;
    auto [near, far] = testing::socket_pair();
    const Keeper keeper{near.get()};
    soft.receive_old(near, far);
    near.close();
    testing::put(far.get(), "for the keeper");  // announced for ever
    auto [next, other] = testing::socket_pair();
    soft.receive(2, next.get());
    const auto before = soft.count().waits;
    CHECK(soft.bench.turn(1, 50) == -ETIME);
    CHECK(soft.count().waits - before < 20);
    CHECK(soft.count().rebuilds >= 1);
    testing::put(other.get(), "new");
    const auto found = soft.bench.await(1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].result == 3);
}

TEST_CASE("bytes that nobody waits for do not keep the ring awake") {
    Soft soft;
    auto [near, far] = testing::socket_pair();
    soft.receive_old(near, far);
    testing::put(far.get(), "later");
    const auto before = soft.count().waits;
    CHECK(soft.bench.turn(1, 30) == -ETIME);
    CHECK(soft.count().waits - before < 10);
    soft.receive(2, near.get());
    const auto found = soft.bench.await(1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].result == 5);
    far.close();
    CHECK(soft.bench.turn(1, 30) == -ETIME);
    CHECK(soft.count().waits - before < 25);
}

TEST_CASE("a descriptor that is announced but gives nothing is tried now and then") {
    // An error queue: epoll reports EPOLLERR as long as it is not read, a receive finds nothing.
    Soft soft;
    const auto socket = testing::bound(SOCK_DGRAM);
    const int on = 1;
    REQUIRE(::setsockopt(socket.get(), IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0);
    sockaddr_in gone{};
    {
        const auto other = testing::bound(SOCK_DGRAM);
        gone = testing::address_of(other.get());
    }
    REQUIRE(::sendto(socket.get(), "x", 1, 0, reinterpret_cast<const sockaddr*>(&gone),
                     sizeof gone) == 1);
    soft.receive(1, socket.get());
    const auto refused = soft.bench.await(1);
    REQUIRE(refused.size() == 1);
    CHECK(refused[0].result == -ECONNREFUSED);
    soft.receive(2, socket.get());
    const auto before = soft.count().waits;
    CHECK(soft.bench.turn(1, 100) == -ETIME);
    CHECK(soft.count().waits - before < 250);
    const auto here = testing::address_of(socket.get());
    const auto from = testing::bound(SOCK_DGRAM);
    REQUIRE(::sendto(from.get(), "hello", 5, 0, reinterpret_cast<const sockaddr*>(&here),
                     sizeof here) == 5);
    const auto found = soft.bench.await(1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].result == 5);
}

TEST_CASE("a flooding peer does not keep others waiting") {
    Soft soft;
    Buffers buffers{soft.backend, 1, 1'024, 16};
    buffers.add_all();
    auto [flooded, flooder] = testing::socket_pair();
    auto [calm, quiet] = testing::socket_pair();
    for (int i = 0; i < 200; ++i) testing::put(flooder.get(), "0123456789abcdef");
    for (const auto& [user_data, fd] : {std::pair{1, flooded.get()}, std::pair{2, calm.get()}}) {
        auto& sqe = soft.bench.submit(static_cast<std::uint64_t>(user_data),
                                      io_uring_prep_recv_multishot, fd, nullptr, std::size_t{0}, 0);
        testing::pick_buffer(sqe, 1);
    }
    testing::put(quiet.get(), "me too");
    (void)soft.bench.turn();
    std::size_t of_flood = 0;
    std::size_t of_calm = 0;
    for (const auto& one : soft.bench.taken) ++(one.user_data == 1 ? of_flood : of_calm);
    CHECK(of_calm == 1);
    CHECK(of_flood <= std::size_t{2} * limits::soft_ring_receives);
    soft.bench.taken.clear();
    std::size_t total = of_flood;
    for (int i = 0; i < 20 && total < 200; ++i) total += soft.bench.await(1).size();
    CHECK(total == 200);
}

TEST_CASE("a multishot receive leaves bytes in the socket rather than overflow the queue") {
    testing::SoftBackend backend{16, 8};
    Bench bench{backend};
    Buffers buffers{backend, 1, 64, 4};
    buffers.add_all();
    auto [near, far] = testing::socket_pair();
    testing::put(far.get(), std::string(120, 'x'));
    auto& sqe =
        bench.submit(1, io_uring_prep_recv_multishot, near.get(), nullptr, std::size_t{0}, 0);
    testing::pick_buffer(sqe, 1);
    std::size_t bytes = 0;
    for (int i = 0; i < 100 && bytes < 120; ++i) {
        (void)bench.turn(1, 100);
        CHECK(bench.taken.size() <= 8);
        for (const auto& one : std::exchange(bench.taken, {})) {
            REQUIRE(one.result == 4);
            REQUIRE(one.more());
            bytes += 4;
        }
    }
    CHECK(bytes == 120);
}

TEST_CASE("without room for registrations descriptors are tried now and then") {
    Soft soft;
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    auto [near, far] = testing::socket_pair();
    const Fd next{::dup(STDIN_FILENO)};
    auto fewer = before;
    fewer.rlim_cur = static_cast<rlim_t>(next.get()) + 1;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &fewer) == 0);
    // The second epoll instance, for multishot polls, cannot be made now.
    soft.bench.submit(1, io_uring_prep_poll_multishot, near.get(), unsigned{POLLIN});
    (void)soft.bench.turn();
    CHECK(soft.bench.taken.empty());
    testing::put(far.get(), "x");
    auto found = soft.bench.await(1);
    REQUIRE_FALSE(found.empty());
    CHECK(found[0].result == POLLIN);
    CHECK((found[0].flags & IORING_CQE_F_MORE) != 0);
    // With room it is told of changes alone again.
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    for (int i = 0; i < 3; ++i) (void)soft.bench.turn(1, 20);
    soft.bench.taken.clear();
    (void)soft.bench.turn(1, 20);
    CHECK(soft.bench.taken.empty());
    testing::put(far.get(), "y");
    found = soft.bench.await(1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].result == POLLIN);
}

TEST_CASE("random traffic arrives whole and in order, on both rings") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    compare(
        [seed](Bench& bench) {
            std::mt19937 random{seed};
            constexpr std::size_t pairs = 16;
            constexpr std::size_t total = 50'000;
            struct Flow {
                Fd in;
                Fd out;
                std::string sent;
                std::string got;
                std::string chunk;
                std::array<char, 3'000> memory{};
                unsigned style = 0;
                bool receiving = false;
                bool sending = false;
            };
            std::vector<std::unique_ptr<Flow>> flows;
            Buffers whole{bench.backend, 1, 64, 256};
            whole.add_all();
            Buffers parts{bench.backend, 2, 32, 4'096, BufferUse::incremental};
            parts.add_all();
            std::map<unsigned, std::size_t> offsets;
            for (std::size_t i = 0; i < pairs; ++i) {
                auto [in, out] = i % 2 == 0 ? testing::socket_pair() : testing::tcp_pair();
                auto flow = std::make_unique<Flow>();
                flow->in = std::move(in);
                flow->out = std::move(out);
                flow->style = static_cast<unsigned>(i / 2 % 4);
                flows.push_back(std::move(flow));
            }
            const auto receive = [&](std::size_t i) {
                Flow& flow = *flows[i];
                flow.receiving = true;
                if (flow.style == 0) {
                    bench.submit(i, io_uring_prep_recv, flow.in.get(), flow.memory.data(),
                                 1 + random() % flow.memory.size(), 0);
                    return;
                }
                auto& sqe = bench.submit(i, io_uring_prep_recv_multishot, flow.in.get(), nullptr,
                                         std::size_t{0}, 0);
                testing::pick_buffer(sqe, flow.style == 2 ? 2 : 1);
                sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
                if (flow.style == 3) sqe.ioprio |= IORING_RECVSEND_BUNDLE;
            };
            const auto send = [&](std::size_t i) {
                Flow& flow = *flows[i];
                if (flow.sent.size() >= total) return;
                flow.sending = true;
                flow.chunk.resize(1 + random() % 4'000);
                for (char& byte : flow.chunk) byte = static_cast<char>(random());
                bench.submit(100 + i, io_uring_prep_send, flow.out.get(), flow.chunk.data(),
                             flow.chunk.size(), MSG_WAITALL);
            };
            const auto take = [&](const testing::Completion& one) {
                if (one.user_data >= 1'000) return;  // a cancel request's own answer
                if (one.user_data >= 100) {
                    Flow& flow = *flows[one.user_data - 100];
                    flow.sending = false;
                    REQUIRE((one.result >= 0 || one.result == -ECANCELED));
                    flow.sent +=
                        flow.chunk.substr(0, static_cast<std::size_t>(std::max(one.result, 0)));
                    return;
                }
                Flow& flow = *flows[one.user_data];
                if (!one.more()) flow.receiving = false;
                const bool none = one.result == -ENOBUFS || one.result == -ECANCELED;
                REQUIRE((none || one.result > 0));
                if (none) return;
                auto left = static_cast<std::size_t>(one.result);
                if (flow.style == 0) {
                    flow.got.append(flow.memory.data(), left);
                } else if (flow.style == 2) {
                    std::size_t& offset = offsets[one.buffer()];
                    flow.got.append(parts.at(one.buffer()) + offset, left);
                    offset += left;
                    if ((one.flags & IORING_CQE_F_BUF_MORE) == 0) {
                        offset = 0;
                        parts.add(one.buffer() - 100);
                    }
                } else {
                    // The buffers of a bundle follow each other in the ring, which here is the
                    // order in which they were given.
                    whole.take(one.buffer(), left, flow.got);
                }
            };
            for (int turns = 0; turns < 200'000; ++turns) {
                std::size_t complete = 0;
                for (std::size_t i = 0; i < pairs; ++i) {
                    Flow& flow = *flows[i];
                    if (!flow.receiving) receive(i);
                    if (!flow.sending) send(i);
                    if (random() % 64 == 0)
                        bench.submit(1'000 + i, io_uring_prep_cancel64,
                                     random() % 2 == 0 ? i : 100 + i, 0);
                    complete += flow.sent.size() >= total && flow.got == flow.sent ? 1 : 0;
                }
                if (complete == pairs) break;
                (void)bench.turn(1, 100);
                for (const auto& one : std::exchange(bench.taken, {})) take(one);
            }
            for (const auto& flow : flows) bench.note("{}", flow->got == flow->sent);
        },
        {.submissions = 64, .completions = 64});
}
