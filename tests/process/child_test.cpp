#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <system_error>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;

int sleep_until_killed() {
    ::alarm(deadline_seconds);
    while (true) ::pause();
}

std::optional<ExitStatus> end_of(const Child& child) {
    if (!wait_readable(child.pidfd.get())) return std::nullopt;
    auto status = reap(child.pidfd);
    return status ? *status : std::nullopt;
}

}  // namespace

TEST_CASE("an exit status says in words how a process ended") {
    CHECK(ExitStatus::exited(2).text() == "exited with code 2");
    CHECK(ExitStatus::killed(9).text() == "killed by signal 9 (SIGKILL)");
    CHECK(ExitStatus{ExitStatus::Kind::dumped, SIGSEGV}.text() ==
          "killed by signal 11 (SIGSEGV), core dumped");
    const ExitStatus unknown{ExitStatus::Kind::unknown};
    CHECK(unknown.text() == "ended");
    CHECK_FALSE(unknown.succeeded());
    CHECK(ExitStatus::exited(0).succeeded());
    CHECK_FALSE(ExitStatus::exited(1).succeeded());
    CHECK_FALSE(ExitStatus::killed(0).succeeded());
}

TEST_CASE("a living child is not reaped, a killed one is reaped exactly once") {
    const auto child = spawn({}, sleep_until_killed);
    REQUIRE(child.has_value());
    CHECK((::fcntl(child->pidfd.get(), F_GETFD) & FD_CLOEXEC) != 0);

    const auto early = reap(child->pidfd);
    REQUIRE(early.has_value());
    CHECK_FALSE(early->has_value());
    pollfd poll{child->pidfd.get(), POLLIN, 0};
    CHECK(::poll(&poll, 1, 0) == 0);

    REQUIRE(send_signal(child->pidfd, SIGKILL).has_value());
    REQUIRE(wait_readable(child->pidfd.get()));
    CHECK(send_signal(child->pidfd, 0).has_value());  // ended, but not reaped
    const auto status = reap(child->pidfd);
    REQUIRE(status.has_value());
    CHECK(*status == ExitStatus::killed(SIGKILL));

    const auto again = reap(child->pidfd);
    REQUIRE_FALSE(again.has_value());
    CHECK(again.error().is(std::errc::no_child_process));
    const auto late = send_signal(child->pidfd, SIGTERM);
    REQUIRE_FALSE(late.has_value());
    CHECK(late.error().is(std::errc::no_such_process));
}

TEST_CASE("a child that aborts is told from one that exits") {
    const auto child = spawn({}, []() -> int {
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        std::abort();
    });
    REQUIRE(child.has_value());
    const auto status = end_of(*child);
    REQUIRE(status.has_value());
    CHECK(status->kind != ExitStatus::Kind::exited);
    CHECK(status->number == SIGABRT);
}

TEST_CASE("each child is reaped through its own pidfd, in any order") {
    const auto first = spawn({}, [] { return 1; });
    const auto second = spawn({}, [] { return 2; });
    REQUIRE(first.has_value());
    REQUIRE(second.has_value());
    CHECK(end_of(*second) == ExitStatus::exited(2));
    CHECK(end_of(*first) == ExitStatus::exited(1));
}

TEST_CASE("what is no child's pidfd is an error") {
    const Fd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    CHECK_FALSE(reap(null).has_value());
    CHECK_FALSE(reap(Fd{}).has_value());
    CHECK_FALSE(send_signal(null, 0).has_value());
    const auto child = spawn({}, sleep_until_killed);
    REQUIRE(child.has_value());
    const auto unknown = send_signal(child->pidfd, 4'000);
    REQUIRE_FALSE(unknown.has_value());
    CHECK(unknown.error().is(std::errc::invalid_argument));
    CHECK(send_signal(child->pidfd, SIGKILL).has_value());
    CHECK(end_of(*child) == ExitStatus::killed(SIGKILL));
}
