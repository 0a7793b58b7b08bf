#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "deadline.h"
#include "files.h"
#include "owned_fd.h"

namespace e2e {
namespace {

/// Holds every signal back while it lives: one that comes between fork and exec must not run the
/// test framework's handlers in the child, which would report and go on as a second test process.
class SignalsHeld {
public:
    SignalsHeld() {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsHeld() { release(); }
    SignalsHeld(const SignalsHeld&) = delete;
    SignalsHeld& operator=(const SignalsHeld&) = delete;
    void release() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_{};
};

[[noreturn]] void become(const ChildOptions& options, char* const* argv, SignalsHeld& held) {
    for (const int number : {SIGINT, SIGTERM, SIGABRT, SIGSEGV, SIGILL, SIGFPE})
        ::signal(number, SIG_DFL);  // those that Catch2 handles
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::signal(SIGPIPE, SIG_DFL);  // as a shell starts a program
    constexpr int append = O_WRONLY | O_CREAT | O_APPEND;
    const int input = ::open(options.input_path.c_str(), O_RDONLY);
    const int output = ::open(options.output_path.c_str(), append, 0600);
    const int error = ::open(options.error_path.c_str(), append, 0600);
    if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(error, 2) < 0) ::_exit(126);
    for (const int fd : {input, output, error})
        if (fd > 2) ::close(fd);
    if (options.before_exec != nullptr && !options.before_exec()) ::_exit(125);
    held.release();
    ::execvp(argv[0], argv);
    ::_exit(127);
}

}  // namespace

int ExitStatus::code() const noexcept {
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : -1;
}

int ExitStatus::signal() const noexcept {
    return WIFSIGNALED(raw) ? WTERMSIG(raw) : 0;
}

Child::Child(const ChildOptions& options) {
    std::vector<std::string> words = options.argv;
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    SignalsHeld held;
    pid_ = ::fork();
    if (pid_ == 0) become(options, argv.data(), held);
    held.release();
    if (pid_ < 0) throw std::system_error{errno, std::generic_category(), "fork"};
    ::setpgid(pid_, pid_);
    pidfd_ = OwnedFd{static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0))};
    if (!pidfd_) throw std::system_error{errno, std::generic_category(), "pidfd_open"};
}

Child::~Child() {
    if (status_) return;
    ::kill(pid_, SIGKILL);
    static_cast<void>(wait(later()));
}

void Child::signal(int number) const {
    if (!status_) ::kill(pid_, number);
}

std::optional<ExitStatus> Child::wait(Deadline deadline) {
    if (status_) return status_;
    pollfd entry{pidfd_.get(), POLLIN, 0};
    int ready = 0;
    do {
        ready = ::poll(&entry, 1, deadline.remaining_ms());
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) return std::nullopt;
    int raw = 0;
    if (::waitpid(pid_, &raw, 0) != pid_) return std::nullopt;
    status_ = ExitStatus{raw};
    return status_;
}

Finished run(std::vector<std::string> argv, const std::string& input, Deadline deadline) {
    const TempDir dir;
    write_file(dir.file("in"), input);
    Child child{{.argv = std::move(argv),
                 .input_path = dir.file("in"),
                 .output_path = dir.file("out"),
                 .error_path = dir.file("err")}};
    const auto status = child.wait(deadline);
    Finished result;
    result.code = status ? status->code() : -1;
    result.output = read_file(dir.file("out"));
    result.error = read_file(dir.file("err"));
    if (!status) result.error += "(did not end in time)";
    return result;
}

Finished ctl(const std::string& app, const std::string& socket, std::vector<std::string> words,
             Deadline deadline) {
    words.insert(words.begin(), {app, "ctl"});
    words.insert(words.end(), {"--socket", socket});
    return run(std::move(words), "", deadline);
}

bool installed(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::istringstream folders{path != nullptr ? path : ""};
    for (std::string folder; std::getline(folders, folder, ':');)
        if (::access((std::filesystem::path{folder} / program).c_str(), X_OK) == 0) return true;
    return false;
}

}  // namespace e2e
