// What a service manager passes: descriptors from 3 on, and three variables.
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <string>
#include <vector>

import ringfort.base;
import ringfort.process;

#include "in_child.h"

using namespace ringfort;
using process::take_passed_fds;

namespace {

/// Says what is passed to a child that is told so, with descriptors 3 to 5 open: names, each with
/// its descriptor and whether that is closed on exec.
std::string passed(const char* pid, const char* fds, const char* names) {
    // The child's own pipe is to have another number than what is passed.
    std::vector<Fd> occupied;
    do occupied.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
    while (occupied.back().get() < 5);
    return in_child([=]() -> std::string {
        for (const RawFd fd : {3, 4, 5})
            if (::dup2(STDERR_FILENO, fd) != fd) return "(dup2)";
        if (pid != nullptr) ::setenv("LISTEN_PID", pid, 1);
        if (std::string{pid == nullptr ? "" : pid} == "own")
            ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        if (fds != nullptr) ::setenv("LISTEN_FDS", fds, 1);
        if (names != nullptr) ::setenv("LISTEN_FDNAMES", names, 1);
        std::string text;
        for (const auto& one : take_passed_fds())
            text += one.name + "=" + std::to_string(one.fd.get()) +
                    ((::fcntl(one.fd.get(), F_GETFD) & FD_CLOEXEC) != 0 ? " " : "! ");
        for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
            if (std::getenv(name) != nullptr) text += "(still set)";
        if (!take_passed_fds().empty()) text += "(twice)";
        return text;
    });
}

}  // namespace

TEST_CASE("what a service manager passes is taken once, by its names") {
    CHECK(passed("own", "3", "web.socket:admin:ringfort-0") ==
          "web.socket=3 admin=4 ringfort-0=5 ");
    CHECK(passed("own", "1", nullptr) == "unknown=3 ");
    CHECK(passed("own", "2", "one") == "one=3 unknown=4 ");
    CHECK(passed("own", "2", ":two:three") == "=3 two=4 ");
    CHECK(passed("own", "0", "") == "");
}

TEST_CASE("what is passed to another process is left alone") {
    CHECK(passed("1", "3", nullptr) == "");
    CHECK(passed(nullptr, "3", nullptr) == "");
    CHECK(passed("garbage", "3", nullptr) == "");
    CHECK(passed("own", nullptr, nullptr) == "");
}

TEST_CASE(
    "a number of descriptors that makes no sense passes none, one that is not open not that") {
    CHECK(passed("own", "-1", nullptr) == "");
    CHECK(passed("own", "three", nullptr) == "");
    CHECK(passed("own", "65537", nullptr) == "");
    std::vector<Fd> occupied;
    do occupied.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
    while (occupied.back().get() < 5);
    CHECK(in_child([]() -> std::string {
              ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
              ::setenv("LISTEN_FDS", "2", 1);
              if (::dup2(STDERR_FILENO, 3) != 3) return "(dup2)";
              ::close(4);
              const auto fds = take_passed_fds();
              return std::to_string(fds.size());
          }) == "1");
}
