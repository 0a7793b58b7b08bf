/// How the loop calls the kernel: once a turn, by a ring whose descriptor is registered.
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"
#include "soft_ring_sockets.h"
#include "stream_pair.h"

using namespace ringfort;
using coro::Task;
using testing::put;
using testing::StreamPair;
using uring::Loop;

// The linker has the executable call these (CMakeLists.txt).
namespace {
std::uint64_t calls = 0;
/// Of waits for several.
struct {
    std::uint64_t calls = 0;
    unsigned most_wanted = 0;
    unsigned us = 0;
} minimum_waits;
/// So many turns make what was before count for little.
constexpr int long_after = 5 * static_cast<int>(limits::batch_turns);
}  // namespace
extern "C" {
int __real_io_uring_submit(io_uring* ring);
int __real_io_uring_submit_and_wait(io_uring* ring, unsigned wanted);
int __real_io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** first, unsigned wanted,
                                            __kernel_timespec* limit, sigset_t* mask);
int __real_io_uring_submit_and_wait_min_timeout(io_uring* ring, io_uring_cqe** first,
                                                unsigned wanted, __kernel_timespec* limit,
                                                unsigned least, sigset_t* mask);
int __real_io_uring_submit_and_get_events(io_uring* ring);
int __real_io_uring_get_events(io_uring* ring);

int __wrap_io_uring_submit(io_uring* ring) {
    ++calls;
    return __real_io_uring_submit(ring);
}
int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wanted) {
    ++calls;
    return __real_io_uring_submit_and_wait(ring, wanted);
}
int __wrap_io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** first, unsigned wanted,
                                            __kernel_timespec* limit, sigset_t* mask) {
    ++calls;
    return __real_io_uring_submit_and_wait_timeout(ring, first, wanted, limit, mask);
}
int __wrap_io_uring_submit_and_wait_min_timeout(io_uring* ring, io_uring_cqe** first,
                                                unsigned wanted, __kernel_timespec* limit,
                                                unsigned least, sigset_t* mask) {
    ++calls;
    ++minimum_waits.calls;
    minimum_waits.most_wanted = std::max(minimum_waits.most_wanted, wanted);
    minimum_waits.us = least;
    return __real_io_uring_submit_and_wait_min_timeout(ring, first, wanted, limit, least, mask);
}
int __wrap_io_uring_submit_and_get_events(io_uring* ring) {
    ++calls;
    return __real_io_uring_submit_and_get_events(ring);
}
int __wrap_io_uring_get_events(io_uring* ring) {
    ++calls;
    return __real_io_uring_get_events(ring);
}
}

namespace {

/// Has each of two sockets send the other small pieces, and posts what comes back.
Task<> chat(Loop& on, StreamPair& pair, int times) {
    for (int i = 0; i < times; ++i) {
        put(pair.far, "hello");
        auto chunk = co_await pair.near.receive(Milliseconds{10'000});
        CHECK((co_await pair.near.post(*std::move(chunk))).has_value());
        (void)co_await on.sleep(Milliseconds{i % 10 == 0 ? 1 : 0});
    }
    CHECK((co_await pair.near.flush()).has_value());
}

/// Has this process's calls of io_uring_enter(2) fail that name the ring by its descriptor.
bool allow_registered_rings_alone() {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, IORING_ENTER_REGISTERED_RING, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENXIO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = std::size(filter), .filter = filter};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

TEST_CASE("a turn of the loop is one call of the kernel, whatever there is to do") {
    auto loop = Loop::open().value();
    if (loop->backend() != uring::Backend::io_uring) SKIP("no io_uring here");
    StreamPair pair{*loop};
    loop->run(chat(*loop, pair, 10));
    const std::uint64_t called = calls;
    const std::uint64_t turns = loop->statistics().turns;
    loop->run(chat(*loop, pair, 200));
    CHECK(loop->statistics().turns - turns >= 200);
    CHECK(calls - called >= loop->statistics().turns - turns);  // all of them are counted
    // And one more when the loop has come to its end, for what it closed.
    CHECK(calls - called <= loop->statistics().turns - turns + 1);
}

TEST_CASE("a loop that many keep busy waits for most of them, and no longer than it may") {
    auto loop = Loop::open().value();
    if (loop->backend() != uring::Backend::io_uring) SKIP("no io_uring here");
    minimum_waits = {};
    loop->run([](Loop& on) -> Task<> {
        std::vector<StreamPair> pairs;
        for (int i = 0; i < 16; ++i) pairs.emplace_back(on);  // so many are done at a time
        co_await testing::exchange(pairs, "hello", long_after);
    }(*loop));
    if (!loop->features().minimum_waits) {
        CHECK(minimum_waits.calls == 0);
        return;
    }
    CHECK(minimum_waits.calls > 0);
    CHECK(minimum_waits.most_wanted >= 11);
    CHECK(minimum_waits.most_wanted <= 12);  // nothing was posted
    CHECK(minimum_waits.us == limits::batch_wait_us.count());
}

TEST_CASE("a loop that receives by calls of their own for many does not wait for more of them") {
    auto loop = Loop::open().value();
    if (loop->backend() != uring::Backend::io_uring) SKIP("no io_uring here");
    loop->run([](Loop& on) -> Task<> {
        std::vector<StreamPair> pairs;
        for (std::uint32_t i = 0; i < limits::batch_most; ++i)
            pairs.emplace_back(on, testing::tcp_pair());  // which say when nothing is left
        const std::string piece(limits::direct_transfer.count, 'p');
        co_await testing::exchange(pairs, piece, long_after);
        minimum_waits = {};
        const std::uint64_t direct = on.statistics().direct;
        co_await testing::exchange(pairs, piece, long_after);
        CHECK(on.statistics().direct - direct >= pairs.size() * long_after);
    }(*loop));
    CHECK(minimum_waits.calls == 0);
}

TEST_CASE("the loop's ring is registered, so that no call looks its descriptor up") {
    if (Loop::open().value()->backend() != uring::Backend::io_uring) SKIP("no io_uring here");
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);
        auto loop = Loop::open({.backend = uring::Backend::io_uring}).value();
        if (!allow_registered_rings_alone()) ::_exit(2);
        StreamPair pair{*loop};
        loop->run(chat(*loop, pair, 10));
        ::_exit(loop->features().registered_ring ? 0 : 3);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}
