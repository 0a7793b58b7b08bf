#include <catch2/catch_test_macros.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;

struct Pipe {
    Fd reader, writer;

    static Pipe open() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error{"pipe2"};
        return {Fd{ends[0]}, Fd{ends[1]}};
    }
};

/// Waits, with a deadline, for the end of a child and reaps it.
std::string end_of(const Child& child) {
    if (!wait_readable(child.pidfd.get())) {
        static_cast<void>(send_signal(child.pidfd, SIGKILL));
        return "(deadline)";
    }
    const auto status = reap(child.pidfd);
    if (!status) return status.error().text();
    return *status ? (*status)->text() : "(still running)";
}

/// Spawns `body() -> std::string` and returns its text, sent over a descriptor that is kept.
std::string spawned(const std::function<std::string()>& body, SpawnOptions options = {}) {
    Pipe pipe = Pipe::open();
    std::vector<RawFd> keep{options.keep.begin(), options.keep.end()};
    keep.push_back(pipe.writer.get());
    options.keep = keep;
    const auto child = spawn(options, [&] { return write_all(pipe.writer.get(), body()) ? 0 : 1; });
    if (!child) return child.error().text();
    pipe.writer.close();
    std::string text = read_all(pipe.reader.get());
    const std::string end = end_of(*child);
    return end == "exited with code 0" ? text : text + end;
}

std::string exit_of(const Entry& entry) {
    const auto child = spawn({}, entry);
    return child ? end_of(*child) : child.error().text();
}

/// Lists this process's descriptors, without the one that the listing itself takes.
std::string open_fds() {
    DIR* directory = ::opendir("/proc/self/fd");
    if (directory == nullptr) return "(no /proc)";
    std::vector<int> fds;
    while (const dirent* entry = ::readdir(directory)) {
        const int fd = std::atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != ::dirfd(directory)) fds.push_back(fd);
    }
    ::closedir(directory);
    std::sort(fds.begin(), fds.end());
    std::string text;
    for (const int fd : fds) text += std::to_string(fd) + " ";
    return text;
}

std::string link_of(const std::string& path) {
    char target[256];
    const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
    return size < 0 ? "" : std::string{target, static_cast<std::size_t>(size)};
}

}  // namespace

TEST_CASE("a spawned child has no descriptor but the three standard ones and those kept") {
    const Pipe closed = Pipe::open();
    const Pipe low = Pipe::open();
    const Fd high{::fcntl(low.reader.get(), F_DUPFD, 700)};
    const Fd inheritable{::open("/dev/zero", O_RDONLY)};
    REQUIRE(high.get() >= 700);
    Pipe report = Pipe::open();
    const std::array keep{high.get(), -1, low.writer.get(), report.writer.get(), high.get()};
    const auto child =
        spawn({.keep = keep}, [&] { return write_all(report.writer.get(), open_fds()) ? 0 : 1; });
    REQUIRE(child.has_value());
    std::vector<int> expected{0, 1, 2, low.writer.get(), report.writer.get(), high.get()};
    report.writer.close();
    const std::string fds = read_all(report.reader.get());
    CHECK(end_of(*child) == "exited with code 0");

    std::sort(expected.begin(), expected.end());
    std::string text;
    for (const int fd : expected) text += std::to_string(fd) + " ";
    CHECK(fds == text);
}

TEST_CASE("a spawned child reads nothing: its standard input is /dev/null") {
    const std::string text = in_child([] {
        const Pipe pipe = Pipe::open();
        ::dup2(pipe.reader.get(), STDIN_FILENO);
        return spawned([] { return link_of("/proc/self/fd/0"); });
    });
    CHECK(text == "/dev/null");
}

TEST_CASE("a spawned child keeps the log's descriptor") {
    const std::string text = in_child([] {
        Pipe pipe = Pipe::open();
        log::write_to(std::move(pipe.writer));
        const std::string end = exit_of([] {
            log::error("still heard");
            return 0;
        });
        log::write_to(Fd{});
        return read_all(pipe.reader.get()) + end;
    });
    CHECK(text.find("still heard") != text.npos);
    CHECK(text.ends_with("exited with code 0"));
}

TEST_CASE("a spawned child starts with default dispositions and an empty signal mask") {
    const std::string text = in_child([] {
        sigset_t set;
        ::sigfillset(&set);
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
        ::signal(SIGPIPE, SIG_IGN);
        ::signal(SIGUSR1, [](int) {});
        const std::string before = status_line("SigBlk");
        std::string in_spawned = spawned(
            [] { return status_line("SigBlk") + status_line("SigIgn") + status_line("SigCgt"); });
        // And the parent is as it was.
        return in_spawned + (status_line("SigBlk") == before ? " same" : " changed");
    });
    CHECK(text == std::string(48, '0') + " same");
}

TEST_CASE("a signal sent to a child before its entry runs waits for it when it is to be blocked") {
    const std::array blocked{SIGTERM};
    const Pipe gate = Pipe::open();
    const std::array keep{gate.reader.get()};
    const auto child = spawn({.keep = keep, .blocked = blocked}, [&] {
        wait_readable(gate.reader.get());
        auto signals = SignalFd::open({SIGTERM});
        if (!signals) return 1;
        const auto signal = signals->next();
        return signal && *signal && (*signal)->number == SIGTERM ? 42 : 2;
    });
    REQUIRE(child.has_value());
    CHECK(send_signal(child->pidfd, SIGTERM).has_value());
    CHECK(write_all(gate.writer.get(), "go"));
    CHECK(end_of(*child) == "exited with code 42");
}

TEST_CASE("the entry's return value is the exit code, in its low 8 bits") {
    CHECK(exit_of([] { return 0; }) == "exited with code 0");
    CHECK(exit_of([] { return 3; }) == "exited with code 3");
    CHECK(exit_of([] { return 258; }) == "exited with code 2");
}

TEST_CASE("an exception that escapes the entry is logged and ends the child with its own code") {
    for (const bool standard : {true, false}) {
        const std::string text = in_child([standard] {
            Pipe pipe = Pipe::open();
            log::write_to(std::move(pipe.writer));
            const auto child = spawn({.name = "unlucky"}, [standard]() -> int {
                if (standard) throw std::runtime_error{"out of luck"};
                throw 13;
            });
            const std::string end = child ? end_of(*child) : child.error().text();
            log::write_to(Fd{});
            return read_all(pipe.reader.get()) + end;
        });
        CHECK(text.find("unlucky") != text.npos);
        CHECK((text.find("out of luck") != text.npos) == standard);
        CHECK(text.ends_with("exited with code " + std::to_string(exit_exception)));
    }
}

TEST_CASE(
    "what the parent has not written yet is written once, and the child's output is flushed") {
    const std::string text = in_child([] {
        Pipe pipe = Pipe::open();
        std::fflush(stdout);  // what Catch2 has not written yet
        ::dup2(pipe.writer.get(), STDOUT_FILENO);
        pipe.writer.close();
        std::setvbuf(stdout, nullptr, _IOFBF, 4096);
        std::printf("parent");
        const std::string end = exit_of([] { return std::printf("child ") == 6 ? 0 : 1; });
        std::fflush(stdout);
        ::close(STDOUT_FILENO);
        return read_all(pipe.reader.get()) + "; " + end;
    });
    CHECK(text == "child parent; exited with code 0");
}

TEST_CASE("a child runs none of the parent's exit handlers") {
    static RawFd told = -1;
    const std::string text = in_child([] {
        Pipe pipe = Pipe::open();
        told = pipe.writer.get();
        std::atexit([] { write_all(told, "handler"); });
        const std::array keep{told};
        const auto child = spawn({.keep = keep}, [] { return 0; });
        const std::string end = child ? end_of(*child) : child.error().text();
        pipe.writer.close();
        return read_all(pipe.reader.get()) + end;
    });
    CHECK(text == "exited with code 0");
}

TEST_CASE("two children do not draw the same random numbers") {
    const auto draw = [] { return std::to_string(::random()) + " " + std::to_string(::lrand48()); };
    CHECK(spawned(draw) != spawned(draw));
}

TEST_CASE("a child carries its name from the start") {
    const std::string name =
        spawned([] { return read_file("/proc/self/comm"); }, {.name = "a name of many bytes"});
    CHECK(name == "a name of many \n");
}

TEST_CASE("a sibling is the child of its maker's parent, which alone learns how it ended") {
    const std::string parent = std::to_string(::getpid());
    const std::string told = in_child([&]() -> std::string {
        Pipe pipe = Pipe::open();
        Pipe go = Pipe::open();
        const RawFd kept[] = {pipe.writer.get(), go.reader.get()};
        const auto sibling = spawn({.name = "sibling", .keep = kept, .sibling = true}, [&] {
            char byte = 0;
            const bool told = write_all(pipe.writer.get(), std::to_string(::getppid()));
            ::close(pipe.writer.get());  // all has been said
            return told && ::read(go.reader.get(), &byte, 1) == 1 ? 7 : 1;
        });
        if (!sibling) return sibling.error().text();
        pipe.writer.close();
        std::string text = read_all(pipe.reader.get()) + ", of " + std::to_string(sibling->pid);
        const auto living = reap(*sibling);
        if (!living || *living) return "it is not taken to live";
        if (!write_all(go.writer.get(), "x") || !wait_readable(sibling->pidfd.get()))
            return "stuck";
        const auto ended = reap(*sibling);
        return text + (ended && *ended ? " " + (*ended)->text() : " (not ended)");
    });
    INFO(told);
    REQUIRE(told.starts_with(parent + ", of "));
    CHECK(told.ends_with(" ended"));
    int status = 0;
    const pid_t sibling = std::atoi(told.c_str() + parent.size() + 5);
    REQUIRE(::waitpid(sibling, &status, 0) == sibling);
    CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("with a full process table spawn fails with EAGAIN and leaks no descriptor") {
    const std::string text = in_child([]() -> std::string {
        // Root is exempt from RLIMIT_NPROC. Nobody else uses this uid.
        if (::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0) return "cannot drop root";
        ::prctl(PR_SET_DUMPABLE, 1);  // else our own /proc/self/fd is closed to us
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_NPROC, &none);
        const std::string before = open_fds();
        const auto child = spawn({}, [] { return 0; });
        if (child) return "spawned";
        return (child.error().code() == std::errc::resource_unavailable_try_again ? "EAGAIN "
                                                                                  : "other ") +
               std::string{open_fds() == before ? "no leak" : "leak"};
    });
    CHECK(text == "EAGAIN no leak");
}

TEST_CASE("spawn needs one free descriptor and starts no process when there is none") {
    const std::string text = in_child([]() -> std::string {
        const rlimit few{64, 64};
        ::setrlimit(RLIMIT_NOFILE, &few);
        std::vector<Fd> fill;
        while (Fd fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}) fill.push_back(std::move(fd));
        const auto child = spawn({}, [] { return 0; });
        std::string result = child ? "spawned" : "";
        if (!child && child.error().code() == std::errc::too_many_files_open) result = "EMFILE";
        if (::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) result += " with a child";
        fill.pop_back();
        return result + ", " + exit_of([] { return 7; });
    });
    CHECK(text == "EMFILE, exited with code 7");
}

TEST_CASE("a parent that ignores SIGCHLD can still reap what it spawns") {
    const std::string text = in_child([] {
        ::signal(SIGCHLD, SIG_IGN);
        return exit_of([] { return 5; });
    });
    CHECK(text == "exited with code 5");
}
