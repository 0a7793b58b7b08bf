#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <utility>
#include <variant>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

using namespace ringfort;

namespace {

using Became = Result<std::variant<process::Starter, int>>;

/// Starts a daemon that runs `body`; in the starter, returns the verdict.
template <class Body>
int start(Body body) {
    Became became = process::become_daemon();
    if (!became) return -1;
    if (const int* code = std::get_if<int>(&*became)) return *code;
    ::alarm(deadline_seconds);
    ::_exit(body(std::get<process::Starter>(*std::move(became))));
}

std::string leads_to(int fd) {
    char target[256];
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
    return size < 0 ? "closed" : std::string(target, static_cast<std::size_t>(size));
}

}  // namespace

TEST_CASE("the starter of a daemon exits with 0 as soon as that has reported success") {
    CHECK(in_child([] {
              int ends[2];
              if (::pipe(ends) != 0) return std::string{"pipe"};
              const int code = start([&](process::Starter starter) {
                  starter.report_success();
                  char go = 0;  // lives on until it is told
                  return ::read(ends[0], &go, 1) == 1 ? 0 : 1;
              });
              const bool told = ::write(ends[1], "x", 1) == 1;
              int status = -1;
              ::wait(&status);
              return std::to_string(code) + (told ? " " : " untold ") + std::to_string(status);
          }) == "0 0");
}

TEST_CASE("the starter of a daemon that ends without a word has its exit code, or 1") {
    CHECK(in_child([] {
              const int failed = start([](process::Starter) { return 7; });
              log::write_to(Fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)});
              const int killed = start([](process::Starter) { return ::raise(SIGKILL); });
              return std::to_string(failed) + " " + std::to_string(killed);
          }) == "7 1");
}

TEST_CASE("a daemon leads a session, and keeps of its starter what it must not decide for it") {
    const std::string text = in_child([] {
        ::umask(027);
        if (::chdir("/tmp") != 0) return std::string{"chdir"};
        int ends[2];
        if (::pipe(ends) != 0) return std::string{"pipe"};
        const std::string error = leads_to(2);
        (void)start([&](process::Starter) {
            char folder[256];
            std::string seen = ::getsid(0) == ::getpid() ? "leader" : "member";
            seen += ::open("/dev/tty", O_RDWR) < 0 ? " without terminal" : " with terminal";
            seen += " " + leads_to(0) + " " + leads_to(1);
            seen += leads_to(2) == error ? " same" : " other";
            seen += " " + std::string{::getcwd(folder, sizeof folder)};
            seen += " " + std::to_string(::umask(0));
            return write_all(ends[1], seen) ? 0 : 1;
        });
        ::close(ends[1]);
        return read_all(ends[0]);
    });
    CHECK(text == "leader without terminal /dev/null /dev/null same /tmp 23");
}

TEST_CASE("a daemon ends with its starter until it has reported success, and not after") {
    for (const bool reports : {false, true}) {
        const std::string text = in_child([=] {
            ::signal(SIGTERM, SIG_DFL);          // Catch2 handles it
            ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // the daemon comes to us
            int ends[2];
            if (::pipe(ends) != 0) return std::string{"pipe"};
            const pid_t middle = ::fork();
            if (middle == 0) {
                (void)start([&](process::Starter starter) {
                    if (reports) starter.report_success();
                    if (!write_all(ends[1], "x")) return 1;
                    ::sleep(reports ? 1 : deadline_seconds);
                    return 3;
                });
                ::_exit(0);
            }
            char ready = 0;
            if (::read(ends[0], &ready, 1) != 1) return std::string{"no daemon"};
            ::kill(middle, SIGKILL);
            int status = 0;
            ::waitpid(middle, &status, 0);
            if (::wait(&status) < 0) return std::string{"no orphan"};
            return WIFEXITED(status) ? "exited " + std::to_string(WEXITSTATUS(status))
                                     : "killed " + std::to_string(WTERMSIG(status));
        });
        CHECK(text == (reports ? "exited 3" : "killed 15"));
    }
}
