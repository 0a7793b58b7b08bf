/// Runs a test's body in a process of its own, so that what it changes (signals, limits,
/// credentials, titles) ends with it. Uses plain fork(2): nothing of what is under test.
#ifndef RINGFORT_TESTS_PROCESS_IN_CHILD_H
#define RINGFORT_TESTS_PROCESS_IN_CHILD_H

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

/// No test may hang: past this a child is ended by SIGALRM, and the test fails.
inline constexpr unsigned deadline_seconds = 20;

/// Reads what a pipe gives until all its writers are gone.
inline std::string read_all(int fd) {
    std::string text;
    char buffer[4096];
    ssize_t size = 0;
    while ((size = ::read(fd, buffer, sizeof buffer)) > 0 || (size < 0 && errno == EINTR))
        if (size > 0) text.append(buffer, static_cast<std::size_t>(size));
    return text;
}

inline std::string read_file(const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {};
    std::string text = read_all(fd);
    ::close(fd);
    return text;
}

inline bool write_all(int fd, std::string_view text) {
    return ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// Returns the rest of the line that begins with "key:" in /proc/self/status.
inline std::string status_line(std::string_view key) {
    const std::string text = read_file("/proc/self/status");
    const std::string start = "\n" + std::string{key} + ":\t";
    const auto at = text.find(start);
    if (at == text.npos) return "(no such line)";
    const auto begin = at + start.size();
    return text.substr(begin, text.find('\n', begin) - begin);
}

inline bool wait_readable(int fd) {
    pollfd poll{fd, POLLIN, 0};
    return ::poll(&poll, 1, static_cast<int>(deadline_seconds) * 1000) == 1;
}

/// Runs `body() -> std::string` in a child and returns the text. A body that does not return gives
/// "(ended with status N)" instead, N as in wait(2).
template <class Body>
std::string in_child(Body body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return "(no pipe)";
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::close(ends[0]);
        ::alarm(deadline_seconds);
        std::string text;
        try {
            text = body();
        } catch (const std::exception& exception) {
            text = std::string{"(exception) "} + exception.what();
        }
        ::_exit(write_all(ends[1], text) ? 0 : 1);
    }
    ::close(ends[1]);
    std::string text = pid < 0 ? "(no child)" : read_all(ends[0]);
    ::close(ends[0]);
    int status = 0;
    if (pid > 0) ::waitpid(pid, &status, 0);
    if (status != 0) text += "(ended with status " + std::to_string(status) + ")";
    return text;
}

#endif
