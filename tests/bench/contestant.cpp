#include "contestant.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto start_limit = 10s;
constexpr auto end_limit = 3s;
constexpr auto poll_interval = 5ms;

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// The fields of /proc/PID/stat from the third (state) on; the second may contain anything.
std::vector<std::string> stat_fields(pid_t pid) {
    const std::string text = read_file(fmt::format("/proc/{}/stat", pid));
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) return {};
    std::istringstream rest(text.substr(name_end + 1));
    return {std::istream_iterator<std::string>(rest), {}};
}

constexpr std::size_t field_state = 0;
constexpr std::size_t field_parent = 1;
constexpr std::size_t field_utime = 11;
constexpr std::size_t field_stime = 12;
constexpr std::size_t fields_needed = 13;

struct Process {
    pid_t pid;
    pid_t parent;
};

std::vector<Process> all_processes() {
    std::vector<Process> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (!std::isdigit(static_cast<unsigned char>(name.front()))) continue;
        const pid_t pid = std::stoi(name);
        const auto fields = stat_fields(pid);
        if (fields.size() < fields_needed || fields[field_state] == "Z") continue;
        found.push_back({pid, std::stoi(fields[field_parent])});
    }
    return found;
}

/// The process and all its descendants, itself first, the others by number.
std::vector<pid_t> family_of(pid_t leader) {
    const std::vector<Process> all = all_processes();
    std::vector<pid_t> family{leader};
    for (std::size_t i = 0; i < family.size(); ++i) {
        for (const Process& process : all) {
            if (process.parent == family[i]) family.push_back(process.pid);
        }
    }
    std::sort(family.begin() + 1, family.end());
    return family;
}

bool contains_word(std::string_view text, std::string_view word) {
    const auto is_letter = [&](std::size_t at) {
        return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
    };
    for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
        if ((at == 0 || !is_letter(at - 1)) && !is_letter(at + word.size())) return true;
    }
    return false;
}

/// The number right after `marker`; 0 as long as it, with a character behind it, is not there.
std::uint16_t number_after(std::string_view text, std::string_view marker) {
    const std::size_t at = text.find(marker);
    if (at == text.npos) return 0;
    const char* end = text.data() + text.size();
    std::uint16_t number = 0;
    const auto [stopped, error] = std::from_chars(text.data() + at + marker.size(), end, number);
    return error == std::errc{} && stopped != end ? number : 0;
}

std::string last_lines(const std::string& path) {
    constexpr std::size_t most = 1500;
    const std::string text = read_file(path);
    return text.size() > most ? "..." + text.substr(text.size() - most) : text;
}

/// Waits until the child has ended and leaves it unreaped, so that its group id stays its own.
bool ended_within(pid_t pid, Clock::duration limit) {
    const auto deadline = Clock::now() + limit;
    for (;;) {
        siginfo_t info{};
        const int options = WEXITED | WNOHANG | WNOWAIT;
        if (waitid(P_PID, static_cast<id_t>(pid), &info, options) != 0) return true;
        if (info.si_pid == pid) return true;
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(poll_interval);
    }
}

/// Runs in the child between fork and exec.
[[noreturn]] void become(const Launch& launch, char* const* argv, int log) {
    setpgid(0, 0);                     // Ctrl-C reaches the bench alone; it ends its servers itself
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // and should it be killed, they still end
    if (launch.core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(static_cast<std::size_t>(launch.core), &cores);
        sched_setaffinity(0, sizeof cores, &cores);
    }
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(argv[0], argv);
    dprintf(log, "cannot execute %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

}  // namespace

char state_of(pid_t pid) {
    const auto fields = stat_fields(pid);
    return fields.empty() ? '\0' : fields[field_state].front();
}

Contestant::Contestant(Launch launch) : launch_(std::move(launch)) {
    spawn();
    try {
        await_port();
        for (const pid_t pid : family_of(pid_)) {
            clockid_t clock{};
            if (clock_getcpuclockid(pid, &clock) != 0) give_up("a process of it ended at once");
            members_.push_back({pid, clock});
        }
    } catch (...) {
        end();
        throw;
    }
}

Contestant::~Contestant() {
    end();
}

void Contestant::spawn() {
    const int log =
        open(launch_.log_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0) {
        throw std::runtime_error(
            fmt::format("cannot write {}: {}", launch_.log_file, strerror(errno)));
    }
    std::vector<char*> argv;
    for (std::string& word : launch_.command) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) become(launch_, argv.data(), log);
    close(log);
    if (pid_ < 0) throw std::runtime_error(fmt::format("cannot fork: {}", strerror(errno)));
}

void Contestant::await_port() {
    const auto deadline = Clock::now() + start_limit;
    while (!serves()) {
        if (ended_within(pid_, 0s)) give_up("it ended instead of serving");
        if (Clock::now() > deadline) give_up("it does not serve after ten seconds");
        std::this_thread::sleep_for(poll_interval);
    }
}

bool Contestant::serves() {
    const std::string log = read_file(launch_.log_file);
    port_ = number_after(log, launch_.port_follows);
    const bool ready = launch_.ready_word.empty() || contains_word(log, launch_.ready_word);
    return port_ != 0 && ready;
}

std::vector<pid_t> Contestant::pids() const {
    std::vector<pid_t> all;
    for (const Member& member : members_) all.push_back(member.pid);
    return all;
}

void Contestant::give_up(const std::string& reason) const {
    throw std::runtime_error(fmt::format("{}: {}; its log {} says:\n{}", launch_.name, reason,
                                         launch_.log_file, last_lines(launch_.log_file)));
}

void Contestant::end() {
    if (pid_ < 0) return;
    kill(pid_, SIGTERM);
    if (!ended_within(pid_, end_limit)) {
        fmt::print(stderr, "bench: {} did not end on SIGTERM and is killed\n", launch_.name);
        kill(pid_, SIGKILL);
    }
    kill(-pid_, SIGKILL);  // whatever it has left behind
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
}

CpuTime Contestant::cpu() const {
    CpuTime sum;
    for (const Member& member : members_) {
        timespec used{};
        const auto fields = stat_fields(member.pid);
        if (clock_gettime(member.clock, &used) != 0 || fields.size() < fields_needed) {
            give_up("one of its processes is gone");
        }
        const auto used_ns = static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000U +
                             static_cast<std::uint64_t>(used.tv_nsec);
        sum.total_ns += used_ns;
        if (member.pid == pid_) sum.leader_ns = used_ns;
        sum.user_ticks += std::stoull(fields[field_utime]);
        sum.system_ticks += std::stoull(fields[field_stime]);
    }
    return sum;
}

void Contestant::require_same_processes() const {
    const std::vector<pid_t> now = family_of(pid_);
    const bool same = std::equal(now.begin(), now.end(), members_.begin(), members_.end(),
                                 [](pid_t pid, const Member& member) { return pid == member.pid; });
    if (!same) give_up("its processes are not those it had at the start");
}

}  // namespace bench
