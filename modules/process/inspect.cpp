module;
#include <execinfo.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

extern "C" {  // glibc 2.36 declares it without
#include <sys/pidfd.h>
}

#include <array>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
module ringfort.process;

import ringfort.base;

namespace ringfort::process {
namespace {

constexpr int most_frames = 64;

std::string read_proc(pid_t pid, std::string_view file) {
    std::ifstream in{fmt::format("/proc/{}/{}", pid, file)};
    return {std::istreambuf_iterator<char>{in}, {}};
}

std::string_view name_of_state(char state) {
    switch (state) {
        case 'R':
            return "running";
        case 'S':
            return "sleeping";
        case 'D':
            return "in an uninterruptible wait";
        case 'T':
            return "stopped";
        case 't':
            return "stopped by a debugger";
        case 'Z':
            return "dead";
        default:
            return "in an unknown state";
    }
}

/// Calls only what signal-safety(7) allows, and backtrace(3), which is safe once it was called.
[[noreturn]] void on_abort(int signal) {
    const RawFd log = log::target();
    std::array<char, 16> pid{};
    const auto end = std::to_chars(pid.data(), pid.data() + pid.size(), ::getpid()).ptr;
    for (const std::string_view part :
         {std::string_view{"process "}, {pid.data(), end}, {" is aborted; its stack:\n"}})
        [[maybe_unused]]
        const ssize_t written = ::write(log, part.data(), part.size());
    std::array<void*, most_frames> frames{};
    ::backtrace_symbols_fd(frames.data(), ::backtrace(frames.data(), most_frames), log);
    std::signal(signal, SIG_DFL);
    sigset_t blocked{};
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, signal);
    ::sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
    ::raise(signal);
    ::_exit(128 + signal);
}

}  // namespace

std::string describe(pid_t pid) {
    const std::string stat = read_proc(pid, "stat");
    const std::size_t end_of_name = stat.rfind(')');  // the name may have any character in it
    if (end_of_name == stat.npos) return "It is gone.";
    std::istringstream fields{stat.substr(end_of_name + 1)};
    char state = '?';
    std::string skipped;
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    fields >> state;
    for (int field = 4; field < 14; ++field) fields >> skipped;
    fields >> user >> system;
    const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    std::string text = fmt::format(
        "It is {}, and has used {:.2f} s of CPU in user space, {:.2f} s in "
        "the kernel",
        name_of_state(state), static_cast<double>(user) / ticks,
        static_cast<double>(system) / ticks);
    const std::string channel = read_proc(pid, "wchan");
    if (state != 'R' && !channel.empty() && channel != "0") text += "; it waits in " + channel;
    return text + ".";
}

namespace {

std::uint64_t identity_in(pid_t pid, const std::string& stat) {
    const std::size_t end_of_name = stat.rfind(')');
    if (end_of_name == stat.npos) return 0;
    std::istringstream fields{stat.substr(end_of_name + 1)};
    char state = '?';
    std::string skipped;
    std::uint64_t started = 0;
    fields >> state;
    for (int field = 4; field < 22; ++field) fields >> skipped;
    fields >> started;
    // One that nobody has reaped yet runs no more.
    if (!fields || state == 'Z' || state == 'X') return 0;
    return static_cast<std::uint64_t>(pid) << 32 | (started & 0xffff'ffff);
}

}  // namespace

std::uint64_t identify(pid_t pid) {
    return identity_in(pid, read_proc(pid, "stat"));
}

Result<Fd> open_identified(std::uint64_t identity) {
    const auto pid = static_cast<pid_t>(identity >> 32);
    if (pid <= 0) return Error{"pidfd_open", std::errc::no_such_process};
    Fd pidfd{::pidfd_open(pid, 0)};
    if (!pidfd) return Error::last("pidfd_open");
    // Looked at with the descriptor in hand: so it is no later one of that pid.
    const std::string path = fmt::format("/proc/{}/stat", pid);
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return Error::last("open /proc/PID/stat");
    std::array<char, 4'096> text{};
    const ssize_t size = ::read(file.get(), text.data(), text.size());
    if (size < 0) return Error::last("read /proc/PID/stat");
    if (identity_in(pid, {text.data(), static_cast<std::size_t>(size)}) != identity)
        return Error{"pidfd_open", std::errc::no_such_process};
    return pidfd;
}

Result<void> may_create(const std::string& path) noexcept {
    const std::string folder =
        path.find('/') == path.npos ? "." : path.substr(0, path.rfind('/') + 1);
    if (::access(folder.c_str(), W_OK | X_OK) != 0) return Error::last("access");
    return {};
}

bool is_traced(pid_t pid) {
    const std::string status = read_proc(pid, "status");
    constexpr std::string_view key = "TracerPid:\t";
    const std::size_t at = status.find(key);
    return at != status.npos && status[at + key.size()] != '0';
}

void trace_aborts() noexcept {
    std::array<void*, 1> frames{};
    (void)::backtrace(frames.data(), 1);  // loads what it needs now, not in the handler
    struct sigaction action{};
    action.sa_handler = on_abort;
    action.sa_flags = SA_ONSTACK;
    (void)::sigaction(SIGABRT, &action, nullptr);
}

}  // namespace ringfort::process
