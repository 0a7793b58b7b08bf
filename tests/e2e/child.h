#pragma once
#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "deadline.h"
#include "owned_fd.h"

namespace e2e {

/// How a process ended.
struct ExitStatus {
    int raw = 0;
    /// Returns the exit code, or -1 when a signal ended it.
    [[nodiscard]] int code() const noexcept;
    [[nodiscard]] int signal() const noexcept;  ///< 0 when it exited by itself
};

struct ChildOptions {
    std::vector<std::string> argv;
    std::string input_path = "/dev/null";
    std::string output_path = "/dev/null";  ///< appended to
    std::string error_path = "/dev/null";   ///< appended to
    /// Runs in the child before exec: only async-signal-safe calls. Returns whether to go on.
    bool (*before_exec)() = nullptr;
};

/// A process of a process group of its own. It dies with the thread that started it; the destructor
/// kills it if it still runs.
class Child {
public:
    explicit Child(const ChildOptions& options);
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    void signal(int number) const;
    /// Waits for the end; empty when the deadline came first. The status stays available.
    [[nodiscard]] std::optional<ExitStatus> wait(Deadline deadline = soon());

private:
    pid_t pid_ = -1;
    OwnedFd pidfd_;
    std::optional<ExitStatus> status_;
};

/// What a program that runs to its end has left.
struct Finished {
    int code = -1;  ///< -1: killed, or did not end in time
    std::string output;
    std::string error;
    /// Returns both streams, for messages.
    [[nodiscard]] std::string text() const { return output + error; }
};

[[nodiscard]] Finished run(std::vector<std::string> argv, const std::string& input = "",
                           Deadline deadline = soon());
/// Has `app` give the master whose control socket this is the order that `words` are.
[[nodiscard]] Finished ctl(const std::string& app, const std::string& socket,
                           std::vector<std::string> words, Deadline deadline = soon());
/// Says whether PATH has a program of this name.
[[nodiscard]] bool installed(const std::string& program);

}  // namespace e2e
