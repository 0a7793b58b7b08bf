#include <catch2/catch_test_macros.hpp>

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>

#include "in_child.h"

#include "confined.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;

std::string filter(const CallFilter& wanted) {
    if (const auto forbidden = forbid_new_privileges(); !forbidden) return "privileges; ";
    const auto filtered = filter_calls(wanted);
    return filtered ? "" : filtered.error().text() + "; ";
}

std::string executable_memory() {
    void* const memory =
        ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return said(memory == MAP_FAILED ? -1 : 0);
}

std::string start_a_thread() {
    int value = 0;
    std::thread thread{[&] { value = 1; }};
    thread.join();
    return value == 1 ? "ok" : "nothing";
}

/// Makes one half of what is used executable: how foreign code is brought in.
std::string make_executable() {
    void* const memory =
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return said(::mprotect(memory, 4096, PROT_READ | PROT_EXEC));
}

}  // namespace

#define REQUIRE_FILTERS() \
    if (!has_call_filters()) SKIP("this kernel has no seccomp filters")

TEST_CASE("under a filter nothing is executed, signalled, listened or mounted") {
    REQUIRE_FILTERS();
    const std::string text = in_child([&] {
        const Status mine;
        const std::string failed = filter({});
        char* const none[] = {nullptr};
        return failed + mine.line("Seccomp") + " " + said(::execve("/bin/true", none, none)) + " " +
               said(::kill(::getppid(), 0)) + " " + said(::unshare(CLONE_NEWUTS)) + " " +
               said(static_cast<int>(::syscall(SYS_io_uring_setup, 1, nullptr))) + " " +
               said(::listen(0, 1)) + " " + said(::setuid(0)) + " " + executable_memory() + " " +
               make_executable() + " " + said(::chdir("/")) + " " +
               said(::socket(AF_NETLINK, SOCK_RAW, 0));
    });
    CHECK(text == "2 EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM");
}

#if !defined(__has_feature) || !__has_feature(address_sanitizer)
namespace {

std::string fork_one() {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    return said(pid < 0 ? -1 : 0);
}

}  // namespace

TEST_CASE(
    "under a filter no process is forked, traced or made dumpable, and no file is opened or looked "
    "at") {
    REQUIRE_FILTERS();
    const std::string text = in_child([] {
        struct stat status{};
        return filter({}) + fork_one() + " " +
               said(static_cast<int>(::ptrace(PTRACE_PEEKDATA, ::getppid(), nullptr, nullptr))) +
               " " + open_for_reading("/dev/null") + " " + open_for_writing("/dev/null") + " " +
               said(::stat("/dev/null", &status)) + " " + said(::prctl(PR_SET_DUMPABLE, 1));
    });
    CHECK(text == "EPERM EPERM EPERM EPERM EPERM EPERM");
}
#endif

TEST_CASE("what a worker does every day passes its filter") {
    REQUIRE_FILTERS();
    const std::string text = in_child([] {
        const std::string failed = filter({});
        int ends[2];
        std::string all = failed + said(::pipe2(ends, O_CLOEXEC)) + " ";
        all += said(::fcntl(ends[0], F_SETPIPE_SZ, 65'536) < 0 ? -1 : 0) + " ";
        int waiting = 0;
        all += said(::ioctl(ends[0], FIONREAD, &waiting)) + " ";
        struct stat status{};
        all += said(::fstat(ends[0], &status)) + " ";
        all += said(::epoll_create1(EPOLL_CLOEXEC)) + " ";
        all += start_a_thread() + " ";
        all += said(::prctl(PR_SET_NAME, "renamed")) + " ";
        rlimit limit{};
        all += said(::getrlimit(RLIMIT_NOFILE, &limit)) + " ";
        void* const memory = std::malloc(64 << 20);
        all += (memory != nullptr ? "ok " : "no memory ");
        std::free(memory);
        all += said(::kill(::getpid(), 0));
        return all;
    });
    CHECK(text == "ok ok ok ok ok ok ok ok ok ok");
}

TEST_CASE("an abort passes the filter: it ends the process by its signal") {
    REQUIRE_FILTERS();
    CHECK(signal_of(in_child([]() -> std::string {
              std::signal(SIGABRT, SIG_DFL);  // Catch2 handles it
              (void)filter({.refusal = Refusal::kill});
              std::abort();
          })) == SIGABRT);
}

TEST_CASE("sockets can be made of the kinds that were allowed, and connected") {
    REQUIRE_FILTERS();
    const OpenPort port;
    const auto sockets = [](const CallFilter& wanted) {
        return in_child([&] {
            const std::string failed = filter(wanted);
            std::string all = failed;
            for (const int family : {AF_INET, AF_INET6, AF_UNIX})
                for (const int type : {SOCK_STREAM, SOCK_DGRAM})
                    all += said(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) + " ";
            all += said(::socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)) + " ";
            all += said(::socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)) + " ";
            return all + said(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
        });
    };
    CHECK(sockets({}) == "EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM");
    CHECK(sockets({.streams = true}) == "ok EPERM ok EPERM EPERM EPERM ok EPERM EPERM");
    CHECK(sockets({.unix_sockets = true}) == "EPERM EPERM EPERM EPERM ok EPERM EPERM EPERM EPERM");
    CHECK(sockets({.datagrams = true}) == "EPERM ok EPERM ok EPERM EPERM EPERM EPERM EPERM");
    CHECK(sockets({.unix_sockets = true, .datagrams = true}) ==
          "EPERM ok EPERM ok ok ok EPERM EPERM EPERM");
    CHECK(in_child([&] { return filter({.streams = true}) + connect_to(port.port()); }) == "ok");
    CHECK(in_child([&] { return filter({.streams = true}) + bind_any(SOCK_STREAM); }) == "EPERM");
    CHECK(in_child([&] { return filter({.datagrams = true}) + bind_any(SOCK_DGRAM); }) == "ok");
}

TEST_CASE("files can be opened where reading is allowed, and made and moved where writing is") {
    REQUIRE_FILTERS();
    CHECK(in_child([] {
              return filter({.reading = true}) + open_for_reading("/dev/null") + " " +
                     said(::unlink("/nowhere"));
          }) == "ok EPERM");
    CHECK(in_child([] {
              return filter({.writing = true}) + open_for_reading("/dev/null") + " " +
                     said(::unlink("/nowhere"));
          }) == "ok ENOENT");
}

TEST_CASE("a refusal that kills does so by SIGSYS") {
    REQUIRE_FILTERS();
    const std::string text = in_child([] {
        const std::string failed = filter({.refusal = Refusal::kill});
        return failed + said(::chdir("/"));
    });
    CHECK(signal_of(text) == SIGSYS);
}

TEST_CASE("a ring's calls are there only for who has a ring") {
    REQUIRE_FILTERS();
    // With these arguments the kernel refuses what a filter lets through.
    const auto calls = [](bool ring) {
        return in_child([&] {
            return filter({.ring = ring}) +
                   said(static_cast<int>(::syscall(SYS_io_uring_enter, -1, 0, 0, 0, 0, 0))) + " " +
                   said(static_cast<int>(::syscall(SYS_io_uring_register, -1, 22, 0, 0))) + " " +
                   said(static_cast<int>(::syscall(SYS_io_uring_register, -1, 9, 0, 0)));
        });
    };
    CHECK(calls(false) == "EPERM EPERM EPERM");
    const std::string with = calls(true);
    CHECK(with.starts_with("EBADF "));
    CHECK(with != "EBADF EPERM EPERM");
    CHECK(with.ends_with(" EPERM"));
}
