module;
#include <fcntl.h>
#include <ringfort/try.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <variant>
module ringfort.process;

namespace ringfort::process {
namespace {

/// Waits for a word of the daemon or for its end; returns the exit code of its starter.
int verdict_of(pid_t daemon, const Fd& verdict) {
    char word = 1;
    ssize_t size = -1;
    do size = ::read(verdict.get(), &word, sizeof word);
    while (size < 0 && errno == EINTR);
    if (size == sizeof word) return word;
    int status = 0;
    while (::waitpid(daemon, &status, 0) < 0)
        if (errno != EINTR) return 1;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    log::error("the daemon was {}", ExitStatus::killed(WTERMSIG(status)).text());
    return 1;
}

/// Makes the forked child a daemon.
Result<void> leave(const Fd& null, pid_t starter) {
    if (::prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return Error::last("prctl(PR_SET_PDEATHSIG)");
    if (::getppid() != starter) return Error{"find the starting process", ESRCH};
    if (::setsid() < 0) return Error::last("setsid");
    if (::dup2(null.get(), STDIN_FILENO) < 0 || ::dup2(null.get(), STDOUT_FILENO) < 0)
        return Error::last("dup2");
    return {};
}

}  // namespace

void Starter::report_success() noexcept {
    if (!verdict_) return;
    (void)::prctl(PR_SET_PDEATHSIG, 0);
    const char success = 0;
    (void)!::write(verdict_.get(), &success, sizeof success);  // EPIPE: nobody waits any more
    verdict_.close();
}

Result<std::variant<Starter, int>> become_daemon() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return Error::last("pipe");
    Fd theirs{ends[0]};
    Fd ours{ends[1]};
    const Fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!null) return Error::last("open /dev/null");
    std::fflush(stdout);  // what is there to be written is the starter's
    const pid_t starter = ::getpid();
    const pid_t daemon = ::fork();
    if (daemon < 0) return Error::last("fork");
    if (daemon > 0) {
        ours.close();
        return std::variant<Starter, int>{verdict_of(daemon, theirs)};
    }
    theirs.close();
    RF_TRY(leave(null, starter));
    return std::variant<Starter, int>{Starter{std::move(ours)}};
}

}  // namespace ringfort::process
