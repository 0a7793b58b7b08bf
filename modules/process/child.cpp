module;
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <optional>
#include <string>
extern "C" {  // glibc 2.36 forgets to say so itself
#include <sys/pidfd.h>
}
module ringfort.process;

namespace ringfort::process {

std::string ExitStatus::text() const {
    if (kind == Kind::unknown) return "ended";
    if (kind == Kind::exited) return fmt::format("exited with code {}", number);
    return fmt::format("killed by signal {} ({}){}", number, signal_name(number),
                       kind == Kind::dumped ? ", core dumped" : "");
}

Result<std::optional<ExitStatus>> reap(const Fd& pidfd) {
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG) != 0)
        return Error::last("waitid");
    if (info.si_pid == 0) return std::optional<ExitStatus>{};
    const auto kind = info.si_code == CLD_EXITED   ? ExitStatus::Kind::exited
                      : info.si_code == CLD_DUMPED ? ExitStatus::Kind::dumped
                                                   : ExitStatus::Kind::killed;
    return std::optional{ExitStatus{kind, info.si_status}};
}

Result<void> send_signal(const Fd& pidfd, int signal) {
    if (::pidfd_send_signal(pidfd.get(), signal, nullptr, 0) != 0)
        return Error::last("pidfd_send_signal");
    return {};
}

}  // namespace ringfort::process
