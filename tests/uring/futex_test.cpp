#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

using uring::futex_wait;
using uring::futex_wake;
using uring::FutexSharing;
using uring::FutexWord;

namespace {

std::unique_ptr<Loop> open_loop(bool futex) {
    auto loop = Loop::open({.features = {.futex = futex}}).value();
    return loop;
}

/// A word in a memfd that a child process shares.
class SharedWord {
public:
    SharedWord() {
        const Fd memory{::memfd_create("futex", MFD_CLOEXEC)};
        ensure(::ftruncate(memory.get(), 4'096) == 0, "ftruncate");
        void* const at =
            ::mmap(nullptr, 4'096, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
        ensure(at != MAP_FAILED, "mmap");
        word_ = new (at) FutexWord{0};
    }
    SharedWord(SharedWord&&) = delete;
    ~SharedWord() { ::munmap(word_, 4'096); }
    FutexWord& operator*() const { return *word_; }

private:
    FutexWord* word_;
};

long raw_futex(FutexWord& word, int operation, std::uint32_t value) {
    return ::syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

/// Runs `body` in a child process, which must not touch a loop.
template <class Body>
pid_t in_child(Body body) {
    const pid_t child = ::fork();
    ensure(child >= 0, "fork");
    if (child != 0) return child;
    body();
    ::_exit(0);
}

void wait_for(pid_t child) {
    int status = 0;
    ensure(::waitpid(child, &status, 0) == child && status == 0, "the child failed");
}

}  // namespace

TEST_CASE("a wait for a word of shared memory ends when another process changes and wakes it") {
    const bool futex = GENERATE(true, false);
    const SharedWord word;
    // Begun before there is a loop, and held back by the word itself.
    const pid_t child = in_child([&] {
        while ((*word).load() != 1) raw_futex(*word, FUTEX_WAIT, 0);
        ::usleep(20'000);
        (*word).store(2);
        raw_futex(*word, FUTEX_WAKE, 1);
        while ((*word).load() != 3) raw_futex(*word, FUTEX_WAIT, 2);
    });
    auto loop = open_loop(futex);
    CHECK(loop->features().futex == (futex && Loop::open().value()->features().futex));
    auto body = [](Loop& on, FutexWord& at) -> Task<> {
        at.store(1);
        ensure((co_await futex_wake(on, at)).has_value(), "wake");
        while (at.load() == 1) ensure((co_await futex_wait(on, at, 1)).has_value(), "wait");
        ensure(at.load() == 2, "what the child has written");
        at.store(3);
        ensure((co_await futex_wake(on, at)).value() <= 1, "wake");
    };
    loop->run(body(*loop, *word));
    wait_for(child);
}

TEST_CASE("a word that does not hold what is expected is not waited for") {
    auto loop = open_loop(GENERATE(true, false));
    FutexWord word{7};
    auto body = [](Loop& on, FutexWord& at) -> Task<Result<void>> {
        co_return co_await futex_wait(on, at, 6, FutexSharing::threads);
    };
    CHECK(loop->run(body(*loop, word)).has_value());
}

TEST_CASE("a wait for a word can be cancelled and limited") {
    auto loop = open_loop(GENERATE(true, false));
    FutexWord word{7};
    auto wait = [](Loop& on, FutexWord& at, std::optional<Result<void>>& out) -> Task<> {
        out.emplace(co_await futex_wait(on, at, 7));
    };
    auto body = [&wait](Loop& on, FutexWord& at) -> Task<> {
        const auto late = co_await futex_wait(on, at, 7, FutexSharing::threads, Milliseconds{10});
        ensure(late.error().is(std::errc::timed_out), "limit");
        std::optional<Result<void>> out;
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(wait(on, at, out));
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
        ensure(out->error().is(std::errc::operation_canceled), "cancel");
    };
    loop->run(body(*loop, word));
}

TEST_CASE("waking reaches as many waiters as it says, and no waiter of another word") {
    auto loop = Loop::open().value();
    if (!loop->features().futex) SKIP("this kernel is older than Linux 6.7");
    auto wait = [](Loop& on, FutexWord& at, int& woken) -> Task<> {
        ensure((co_await futex_wait(on, at, 0, FutexSharing::threads)).has_value(), "wait");
        ++woken;
    };
    auto body = [&wait](Loop& on) -> Task<> {
        FutexWord words[2] = {0, 0};
        int woken[2] = {0, 0};
        coro::Scope scope{co_await coro::current_context()};
        for (int i = 0; i < 6; ++i) scope.spawn(wait(on, words[i % 2], woken[i % 2]));
        (void)co_await on.sleep(Milliseconds{1});
        ensure((co_await futex_wake(on, words[0], 2, FutexSharing::threads)).value() == 2, "two");
        (void)co_await on.sleep(Milliseconds{1});
        ensure(woken[0] == 2 && woken[1] == 0, "who was woken");
        ensure((co_await futex_wake(on, words[0], 9, FutexSharing::threads)).value() == 1, "one");
        ensure((co_await futex_wake(on, words[1], 9, FutexSharing::threads)).value() == 3, "all");
        co_await scope.join();
    };
    loop->run(body(*loop));
}
