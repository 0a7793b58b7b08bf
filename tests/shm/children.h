/// Processes of a test, with plain fork(2).
#pragma once
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <functional>

namespace testing {

/// Runs `body` in a child, which then exits with 0.
inline pid_t start(const std::function<void()>& body) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        body();
        ::_exit(0);
    }
    return child;
}

/// Waits for a child; returns its status, as in wait(2).
inline int end_of(pid_t child) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return status;
}

}  // namespace testing
