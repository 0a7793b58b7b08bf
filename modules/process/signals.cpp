module;
#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>
#include <optional>
#include <string>
module ringfort.process;

namespace ringfort::process {

Result<SignalFd> SignalFd::open(std::initializer_list<int> signals) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : signals)
        if (::sigaddset(&set, signal) != 0) return Error::last("sigaddset");
    Fd fd{::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)};
    if (!fd) return Error::last("signalfd");
    // Blocked last: on an error the process is as it was.
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return Error::last("sigprocmask");
    return SignalFd{std::move(fd)};
}

Result<std::optional<SignalInfo>> SignalFd::next() {
    signalfd_siginfo info;
    const ssize_t size = ::read(fd_.get(), &info, sizeof info);
    if (size < 0 && errno == EAGAIN) return std::optional<SignalInfo>{};
    if (size < 0) return Error::last("read a signalfd");
    ensure(size == sizeof info, "a signalfd gives whole records");
    return std::optional{
        SignalInfo{static_cast<int>(info.ssi_signo), static_cast<pid_t>(info.ssi_pid)}};
}

Result<void> ignore(std::initializer_list<int> signals) {
    struct sigaction action{};
    action.sa_handler = SIG_IGN;
    for (const int signal : signals)
        if (::sigaction(signal, &action, nullptr) != 0) return Error::last("sigaction(SIG_IGN)");
    return {};
}

void unblock_all() noexcept {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

std::string signal_name(int number) {
    if (const char* name = ::sigabbrev_np(number)) return fmt::format("SIG{}", name);
    if (number >= SIGRTMIN && number <= SIGRTMAX)
        return fmt::format("SIGRTMIN+{}", number - SIGRTMIN);
    return "unknown";
}

}  // namespace ringfort::process
