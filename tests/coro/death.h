/// Runs something that is to end its process, in a process of its own.
#pragma once
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <string_view>

namespace testing {

/// Returns what `body` wrote to standard error before it aborted; "(lived)" when it did not abort.
template <class Body>
std::string death_of(Body body) {
    int ends[2];
    if (::pipe(ends) != 0) return "(no pipe)";
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        std::signal(SIGABRT, SIG_DFL);  // not the test framework's handler
        ::alarm(20);
        ::dup2(ends[1], STDERR_FILENO);
        body();
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    char buffer[512];
    for (ssize_t size = 0; (size = ::read(ends[0], buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(size));
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? text : "(lived) " + text;
}

/// Tells whether it died, and with these words.
inline bool says(const std::string& death, std::string_view words) {
    return death.find(words) != std::string::npos && !death.starts_with("(lived)");
}

}  // namespace testing
