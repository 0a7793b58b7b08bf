#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;
using uring::RingMode;

namespace {

Task<Result<std::string>> echo_once(Loop& loop, Fd fd) {
    uring::Socket socket{loop, std::move(fd)};
    auto chunk = co_await socket.receive();
    if (!chunk) co_return chunk.error();
    const auto sent = co_await socket.send_all(chunk->bytes());
    if (!sent) co_return sent.error();
    co_return std::string{chunk->text()};
}

}  // namespace

TEST_CASE("a loop echoes in every mode this kernel has") {
    const auto mode =
        GENERATE(RingMode::deferred_no_array, RingMode::deferred, RingMode::cooperative);
    auto loop = Loop::open({.features = {.mode = mode}}).value();
    CHECK(loop->features().mode >= mode);
    auto [near, far] = testing::socket_pair();
    REQUIRE(::write(far.get(), "hello", 5) == 5);
    const auto text = loop->run(echo_once(*loop, std::move(near)));
    REQUIRE(text);
    CHECK(*text == "hello");
    char answer[16] = "";
    REQUIRE(::read(far.get(), answer, sizeof answer) == 5);
    CHECK(std::string{answer} == "hello");
    uring::Features others = loop->features();
    others.mode = RingMode::deferred_no_array;
    CHECK(uring::consequences(loop->features()).size() ==
          uring::consequences(others).size() + (loop->features().mode == others.mode ? 0 : 1));
}

TEST_CASE("a ring with which nothing can be registered is not used, and one sentence says so") {
    const int refused = GENERATE(EPERM, EINVAL, ENOSYS);
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);
        ::unsetenv("RINGFORT_DRIVER");
        sock_filter filter[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(refused)),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const sock_fprog program{.len = std::size(filter), .filter = filter};
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
            ::_exit(1);
        auto loop = Loop::open();
        if (!loop) ::_exit(2);
        if ((*loop)->backend() != uring::Backend::epoll) ::_exit(3);
        if ((*loop)->shortcomings().size() != 1) ::_exit(4);
        auto [near, far] = testing::socket_pair();
        if (::write(far.get(), "hello", 5) != 5) ::_exit(5);
        const auto text = (*loop)->run(echo_once(**loop, std::move(near)));
        const bool strict = Loop::open({.backend = uring::Backend::io_uring}).has_value();
        ::_exit(text && *text == "hello" && !strict ? 0 : 6);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

TEST_CASE("a loop returns the value of its task") {
    auto loop = Loop::open().value();
    auto body = []() -> Task<int> { co_return 42; };
    CHECK(loop->run(body()) == 42);
    auto nothing = []() -> Task<> { co_return; };
    loop->run(nothing());
}

TEST_CASE("sleeping takes at least as long as asked and leaves the order of sleepers") {
    auto loop = Loop::open().value();
    auto sleeper = [](Loop& on, int ms, std::vector<int>& order) -> Task<> {
        (void)co_await on.sleep(Milliseconds{ms});
        order.push_back(ms);
    };
    auto body = [&sleeper](Loop& on, std::vector<int>& order) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        for (const int ms : {30, 10, 20}) scope.spawn(sleeper(on, ms, order));
        co_await scope.join();
    };
    std::vector<int> order;
    const Instant begin = now();
    loop->run(body(*loop, order));
    CHECK(now() - begin >= Milliseconds{29});
    CHECK(order == std::vector{10, 20, 30});
}

TEST_CASE("more operations than the submission queue holds all complete") {
    auto loop = Loop::open({.submissions = 8, .completions = 16}).value();
    std::vector<std::pair<Fd, Fd>> pairs;
    for (int i = 0; i < 200; ++i) pairs.push_back(testing::socket_pair());
    auto body = [](Loop& on, std::vector<std::pair<Fd, Fd>>& sockets, int& echoed) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        auto one = [](Loop& ring, Fd socket, int& count) -> Task<> {
            if (co_await echo_once(ring, std::move(socket))) ++count;
        };
        for (auto& [near, far] : sockets) scope.spawn(one(on, std::move(near), echoed));
        for (auto& [near, far] : sockets)
            (void)co_await on.send_all(far.get(), std::as_bytes(std::span{"x", 1}));
        co_await scope.join();
    };
    int echoed = 0;
    loop->run(body(*loop, pairs, echoed));
    CHECK(echoed == 200);
}

TEST_CASE("polling tells which event holds") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    auto body = [](Loop& on, RawFd fd) -> Task<Result<std::uint32_t>> {
        co_return co_await on.poll(fd, POLLIN);
    };
    far.close();
    const auto events = loop->run(body(*loop, near.get()));
    REQUIRE(events);
    CHECK((*events & POLLIN) != 0);
}
