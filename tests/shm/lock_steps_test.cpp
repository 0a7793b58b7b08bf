// What comes between two stores of a lock.
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <optional>
#include <string>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t waiters = 1U << 31;
constexpr std::uint32_t impatient = 1U << 30;

std::uint32_t* word = nullptr;
pid_t sleeper = 0;

bool asleep(pid_t pid) {
    std::ifstream file{"/proc/" + std::to_string(pid) + "/syscall"};
    long number = -1;
    return static_cast<bool>(file >> number) && number == SYS_futex;
}

// Between the look whether anybody sleeps and the fall of the bar somebody goes to sleep before it.
void go_to_sleep() {
    std::atomic_ref<std::uint32_t> shared{*word};
    if (sleeper != 0 || shared.load() != impatient) return;
    shared.fetch_or(waiters);
    sleeper = ::fork();
    if (sleeper == 0) {
        const timespec limit{10, 0};
        const long woken =
            ::syscall(SYS_futex, word, FUTEX_WAIT, waiters | impatient, &limit, nullptr, 0);
        ::_exit(woken == 0 ? 0 : 1);
    }
    const Instant end = now() + 20s;
    while (!asleep(sleeper) && now() < end) ::usleep(100);
}

}  // namespace

TEST_CASE("one that goes to sleep before a bar while it falls is woken") {
    if (!std::ifstream{"/proc/self/syscall"}.good()) SKIP("/proc/self/syscall is not to be read");
    steps::Stage stage{4};
    word = stage.pool().lock().word();
    sleeper = 0;
    std::optional<Guard> guard = stage.pool().lock().try_lock();
    REQUIRE(guard);
    std::atomic_ref{*word}.fetch_or(waiters | impatient);
    set_step_hook(go_to_sleep);
    guard.reset();
    set_step_hook(nullptr);
    REQUIRE(sleeper > 0);
    int status = 0;
    REQUIRE(::waitpid(sleeper, &status, 0) == sleeper);
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) == 0);
}
