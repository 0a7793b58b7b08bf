module;
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <ringfort/try.h>
#include <signal.h>
#include <stdio_ext.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>
extern "C" {  // glibc 2.36 forgets to say so itself
#include <sys/pidfd.h>
}
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define RINGFORT_LEAK_CHECK
#endif
#endif
module ringfort.process;

namespace ringfort::process {
namespace {

/// Holds every signal back while it lives, so that none reaches a handler of the parent's in the
/// child between fork and the reset of the dispositions.
class SignalsHeld {
public:
    SignalsHeld() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, &before_);
    }
    SignalsHeld(const SignalsHeld&) = delete;
    SignalsHeld& operator=(const SignalsHeld&) = delete;
    ~SignalsHeld() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

/// All that the child needs before its entry, made in the parent, where an error can be returned.
struct Preparation {
    std::vector<RawFd> kept;  ///< ascending
    Fd null;
    sigset_t mask;
};

std::vector<RawFd> kept_fds(std::span<const RawFd> keep) {
    std::vector<RawFd> kept{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, log::target()};
    if (log::kept_standard_error() >= 0) kept.push_back(log::kept_standard_error());
    std::copy_if(keep.begin(), keep.end(), std::back_inserter(kept),
                 [](RawFd fd) { return fd >= 0; });
    std::sort(kept.begin(), kept.end());
    return kept;
}

Result<Preparation> prepare(const SpawnOptions& options) {
    Preparation prepared{kept_fds(options.keep), Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)}, {}};
    if (!prepared.null) return Error::last("open /dev/null");
    ::sigemptyset(&prepared.mask);
    for (const int signal : options.blocked)
        if (::sigaddset(&prepared.mask, signal) != 0) return Error::last("sigaddset");
    return prepared;
}

/// The kernel itself reaps the children of a process that ignores SIGCHLD, and some launchers
/// leave it ignored: there would be nothing to open a pidfd of.
void make_children_waitable() noexcept {
    struct sigaction action{};
    ::sigaction(SIGCHLD, nullptr, &action);
    if (action.sa_handler != SIG_IGN && (action.sa_flags & SA_NOCLDWAIT) == 0) return;
    if (action.sa_handler == SIG_IGN) action.sa_handler = SIG_DFL;
    action.sa_flags &= ~SA_NOCLDWAIT;
    ::sigaction(SIGCHLD, &action, nullptr);
}

void reset_dispositions() noexcept {
    struct sigaction action{};
    action.sa_handler = SIG_DFL;
    // SIGKILL, SIGSTOP and the two that the C library keeps are refused: they are the default.
    for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &action, nullptr);
}

void reseed() noexcept {
    std::uint32_t seed = 0;
    if (::getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = static_cast<std::uint32_t>(::getpid());
    ::srandom(seed);  // rand(3) draws from the same state
    ::srand48(static_cast<long>(seed));
}

Result<void> close_between(unsigned first, unsigned last) {
    if (first <= last && ::close_range(first, last, 0) != 0) return Error::last("close_range");
    return {};
}

Result<void> close_all_but(std::span<const RawFd> kept) {
    unsigned next = 0;
    for (const RawFd fd : kept) {
        const auto number = static_cast<unsigned>(fd);
        if (number > next) RF_TRY(close_between(next, number - 1));
        next = number + 1;
    }
    return close_between(next, std::numeric_limits<unsigned>::max());
}

/// Makes the child its own: what it shares with its parent and siblings from here on is what it
/// was given.
Result<void> become_child(const Preparation& prepared, std::string_view name) {
    reset_dispositions();
    // What the parent has not written yet is the parent's to write.
    ::__fpurge(stdout);
    ::__fpurge(stderr);
    reseed();
    // dup2 on itself would leave close-on-exec set, which is harmless: nobody execs.
    if (::dup2(prepared.null.get(), STDIN_FILENO) < 0) return Error::last("dup2");
    RF_TRY(close_all_but(prepared.kept));
    Title::set(name);
    if (::sigprocmask(SIG_SETMASK, &prepared.mask, nullptr) != 0) return Error::last("sigprocmask");
    return {};
}

int run(const Entry& entry, std::string_view name) noexcept {
    try {
        return entry();
    } catch (const std::exception& exception) {
        log::error("{}: an exception ended the process: {}", name, exception.what());
    } catch (...) {
        log::error("{}: an exception of an unknown type ended the process", name);
    }
    return exit_exception;
}

#ifdef RINGFORT_LEAK_CHECK
/// The search for leaks needs descriptors of its own, which this process may have run out of.
bool has_descriptors_left() noexcept {
    const Fd one{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)};
    const Fd two{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)};
    return one && two;
}
#endif

/// Does for a child what exit(3) does in a build that looks for leaks, and _exit(2) leaves out.
void report_leaks() noexcept {
#ifdef RINGFORT_LEAK_CHECK
    if (has_descriptors_left()) __lsan_do_recoverable_leak_check();
#endif
}

[[noreturn]] void be_child(const Preparation& prepared, std::string_view name,
                           const Entry& entry) noexcept {
    int code = exit_os_error;
    if (auto ready = become_child(prepared, name); ready)
        code = run(entry, name);
    else
        log::error("{}: cannot become a process of its own: {}", name, ready.error().text());
    // Only these two: another stream may hold bytes of the parent's.
    std::fflush(stdout);
    std::fflush(stderr);
    report_leaks();
    ::_exit(code);
}

/// What fork(2) does, but for whose child it is; without the handlers of pthread_atfork(3). The
/// process has one thread, so that no lock of the C library is held by one that the child has not.
/// Not clone3(2), whose flags no filter of calls can see: some refuse it.
Result<Child> start_sibling(const Preparation& prepared, const SpawnOptions& options,
                            const Entry& entry) {
    int pidfd = -1;
    const long pid =
        ::syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD, nullptr, &pidfd, nullptr, nullptr);
    if (pid < 0) return Error::last("clone");
    if (pid == 0) be_child(prepared, options.name, entry);
    return Child{.pid = static_cast<pid_t>(pid), .pidfd = Fd{pidfd}, .sibling = true};
}

void abandon(pid_t pid) noexcept {
    ::kill(pid, SIGKILL);
    siginfo_t info{};
    while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) != 0 && errno == EINTR) {
    }
}

}  // namespace

Result<Child> spawn(const SpawnOptions& options, const Entry& entry) {
    RF_LET(Preparation prepared, prepare(options));
    make_children_waitable();
    const SignalsHeld held;
    if (options.sibling) return start_sibling(prepared, options, entry);
    const pid_t pid = ::fork();
    if (pid < 0) return Error::last("fork");
    if (pid == 0) be_child(prepared, options.name, entry);
    // Its number is free for the pidfd now: with a full table, the open above has failed already,
    // before there was a process. Until we reap it the pid cannot be reused.
    prepared.null.close();
    Fd pidfd{::pidfd_open(pid, 0)};
    if (!pidfd) {
        const Error error = Error::last("pidfd_open");
        abandon(pid);
        return error;
    }
    return Child{.pid = pid, .pidfd = std::move(pidfd)};
}

Result<std::optional<ExitStatus>> reap(const Child& child) {
    if (!child.sibling) return reap(child.pidfd);
    pollfd polled{.fd = child.pidfd.get(), .events = POLLIN, .revents = 0};
    // What cannot be asked now can be asked again: it is not taken to have ended.
    if (::poll(&polled, 1, 0) <= 0) return std::optional<ExitStatus>{};
    return std::optional{ExitStatus{.kind = ExitStatus::Kind::unknown}};
}

}  // namespace ringfort::process
