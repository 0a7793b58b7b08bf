#include <catch2/catch_test_macros.hpp>

#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <compare>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

using namespace ringfort;
using namespace ringfort::process;

namespace {

/// A child that waits for ever; ends with this.
struct Sleeper {
    Sleeper() : pid{::fork()} {
        if (pid != 0) return;
        for (;;) ::pause();
    }
    ~Sleeper() {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    pid_t pid;
};

bool begins(const std::string& text, const std::string& with) {
    return text.rfind(with, 0) == 0;
}

}  // namespace

TEST_CASE("a process is described by its state") {
    CHECK(begins(describe(::getpid()), "It is running, and has used "));
    const Sleeper sleeper;
    for (int i = 0; i < 5'000 && !begins(describe(sleeper.pid), "It is sleeping"); ++i)
        ::usleep(1'000);
    CHECK(begins(describe(sleeper.pid), "It is sleeping"));
    ::kill(sleeper.pid, SIGSTOP);
    ::waitpid(sleeper.pid, nullptr, WUNTRACED);
    CHECK(begins(describe(sleeper.pid), "It is stopped, and has used "));
    CHECK(describe(0x7fff'ffff) == "It is gone.");
}

TEST_CASE("whether a file may be made is told by its folder, and nothing is made") {
    const auto folder = std::filesystem::temp_directory_path();
    const std::string path = folder / ("ringfort-" + std::to_string(::getpid()));
    CHECK(process::may_create(path));
    CHECK_FALSE(std::filesystem::exists(path));
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(folder);
    CHECK(process::may_create("a-file-of-the-working-directory"));
    std::filesystem::current_path(before);
    CHECK(process::may_create("/no/such/folder/file")
              .error()
              .is(std::errc::no_such_file_or_directory));
    CHECK(process::may_create("/dev/null/file").error().is(std::errc::not_a_directory));
}

TEST_CASE("a debugger is noticed") {
    const Sleeper sleeper;
    CHECK_FALSE(is_traced(sleeper.pid));
    if (::ptrace(PTRACE_SEIZE, sleeper.pid, nullptr, nullptr) != 0)
        SKIP("this process may not debug another");
    CHECK(is_traced(sleeper.pid));
    CHECK_FALSE(is_traced(0x7fff'ffff));
}

TEST_CASE("a process that is aborted writes its stack to the log, and dies of the signal") {
    int ends[2] = {-1, -1};
    REQUIRE(::pipe(ends) == 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
        log::write_to(Fd{ends[1]});
        trace_aborts();
        std::abort();
    }
    ::close(ends[1]);
    std::string text;
    char part[512];
    for (ssize_t count = 0; (count = ::read(ends[0], part, sizeof part)) > 0;)
        text.append(part, static_cast<std::size_t>(count));
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
    CHECK(begins(text, "process " + std::to_string(pid) + " is aborted; its stack:\n"));
    CHECK(text.find("process_test") != std::string::npos);
}

TEST_CASE("a process is told from a later one of its number, and its end is heard of") {
    const std::uint64_t self = identify(::getpid());
    CHECK(self != 0);
    CHECK(identify(::getpid()) == self);
    std::uint64_t other = 0;
    Fd pidfd;
    const auto ends = [&] {
        pollfd polled{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
        return ::poll(&polled, 1, 0) == 1;
    };
    {
        const Sleeper sleeper;
        other = identify(sleeper.pid);
        CHECK(other != 0);
        CHECK(other >> 32 == static_cast<std::uint64_t>(sleeper.pid));
        pidfd = open_identified(other).value();
        CHECK_FALSE(ends());
        // The same number, another start.
        CHECK(open_identified(other + 1).error().is(std::errc::no_such_process));
        ::kill(sleeper.pid, SIGKILL);
        while (identify(sleeper.pid) != 0) ::usleep(1'000);  // dead before it is reaped
        CHECK(open_identified(other).error().is(std::errc::no_such_process));
    }
    CHECK(ends());
    CHECK(open_identified(other).error().is(std::errc::no_such_process));
    CHECK(open_identified(0).error().is(std::errc::no_such_process));
}
