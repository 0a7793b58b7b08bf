#include "processes.h"

#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "deadline.h"
#include "files.h"

namespace e2e {
namespace {

struct Stat {
    pid_t pid = 0;
    char state = '?';
    pid_t parent = 0;
    pid_t group = 0;
    std::uint64_t ticks = 0;
};

std::string proc(pid_t pid, const char* file) {
    return "/proc/" + std::to_string(pid) + "/" + file;
}

std::optional<Stat> stat_of(pid_t pid) {
    const std::string text = read_file(proc(pid, "stat"));
    const auto name_end = text.rfind(')');  // the name may hold anything
    if (name_end == text.npos) return std::nullopt;
    std::istringstream rest{text.substr(name_end + 1)};
    Stat stat;
    stat.pid = pid;
    rest >> stat.state >> stat.parent >> stat.group;
    std::string skipped;
    for (int field = 6; field <= 13; ++field) rest >> skipped;
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    rest >> user >> system;
    stat.ticks = user + system;
    if (stat.state == 'Z' || stat.state == 'X') return std::nullopt;
    return stat;
}

template <class Predicate>
std::vector<pid_t> select(Predicate wanted) {
    std::vector<pid_t> result;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
        const std::string name = entry.path().filename().string();
        pid_t pid = 0;
        const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (parsed.ec != std::errc{} || parsed.ptr != name.data() + name.size()) continue;
        if (const auto stat = stat_of(pid); stat && wanted(*stat)) result.push_back(pid);
    }
    return result;
}

}  // namespace

bool is_stopped(pid_t pid) {
    const auto stat = stat_of(pid);
    return stat && stat->state == 'T';
}

bool is_running(pid_t pid) {
    return stat_of(pid).has_value();
}

std::vector<pid_t> children_of(pid_t parent) {
    return select([=](const Stat& stat) { return stat.parent == parent; });
}

void stop(pid_t pid) {
    REQUIRE(::kill(pid, SIGSTOP) == 0);
    REQUIRE(eventually(soon(), [&] { return is_stopped(pid); }));
}

std::string title_of(pid_t pid) {
    return read_file(proc(pid, "cmdline"));
}

std::vector<pid_t> members_of_group(pid_t group) {
    return select([=](const Stat& stat) { return stat.group == group; });
}

std::uint64_t cpu_time_ms(pid_t pid) {
    const auto stat = stat_of(pid);
    const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    return stat ? stat->ticks * 1'000 / per_second : 0;
}

std::uint64_t resident_kib(pid_t pid) {
    std::istringstream text{read_file(proc(pid, "statm"))};
    std::uint64_t total = 0;
    std::uint64_t resident = 0;
    text >> total >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 1'024;
}

std::vector<std::string> open_files(pid_t pid) {
    std::vector<std::string> result;
    std::error_code failure;
    for (std::filesystem::directory_iterator entry{proc(pid, "fd"), failure}, end;
         !failure && entry != end; entry.increment(failure)) {
        std::error_code closed_meanwhile;
        const auto target = std::filesystem::read_symlink(entry->path(), closed_meanwhile);
        if (!closed_meanwhile) result.push_back(target.string());
    }
    return result;
}

std::vector<std::size_t> settled_files(const std::vector<pid_t>& pids) {
    const auto count = [&] {
        std::vector<std::size_t> counts;
        for (const pid_t pid : pids) counts.push_back(open_files(pid).size());
        return counts;
    };
    std::vector<std::size_t> counts = count();
    const bool settled = eventually(soon(), [&] {
        std::this_thread::sleep_for(milliseconds{50});
        const std::vector<std::size_t> last = std::exchange(counts, count());
        return last == counts;
    });
    CHECK(settled);
    return counts;
}

std::set<std::uint64_t> socket_inodes(pid_t pid) {
    std::set<std::uint64_t> result;
    for (const std::string& target : open_files(pid))
        if (target.starts_with("socket:[")) result.insert(std::stoull(target.substr(8)));
    return result;
}

std::string status_of(pid_t pid, const std::string& name) {
    std::istringstream lines{read_file("/proc/" + std::to_string(pid) + "/status")};
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(name + ":")) continue;
        std::istringstream words{line.substr(name.size() + 1)};
        std::string result;
        for (std::string word; words >> word;) result += (result.empty() ? "" : " ") + word;
        return result;
    }
    return "no such line";
}

}  // namespace e2e
