module;
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>
module ringfort.process;

namespace ringfort::process {
namespace {

using Quota = std::optional<std::uint32_t>;

constexpr std::string_view cgroup_root = "/sys/fs/cgroup";
constexpr std::size_t max_file_bytes = 64 * 1024;
constexpr std::size_t max_cpus = 1 << 16;

/// Cuts the text up to `separator` off the front of `rest`; all of it when there is none.
std::string_view cut(std::string_view& rest, char separator) {
    const auto end = std::min(rest.find(separator), rest.size());
    const auto front = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return front;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
    while (text.ends_with('\n')) text.remove_suffix(1);
    std::uint64_t number = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
}

Quota rounded_up(std::optional<std::uint64_t> quota, std::optional<std::uint64_t> period) {
    if (!quota || !period || *quota == 0 || *period == 0) return std::nullopt;
    const std::uint64_t whole = *quota / *period + (*quota % *period == 0 ? 0 : 1);
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    return static_cast<std::uint32_t>(std::min(whole, most));
}

Quota tighter(Quota a, Quota b) {
    if (!a || !b) return a ? a : b;
    return std::min(*a, *b);
}

Quota read_v2(const std::string& directory, const ReadFile& read) {
    const auto text = read(directory + "/cpu.max");
    return text ? parse_cpu_max(*text) : std::nullopt;
}

Quota read_v1(const std::string& directory, const ReadFile& read) {
    const auto quota = read(directory + "/cpu.cfs_quota_us");
    const auto period = read(directory + "/cpu.cfs_period_us");
    return quota && period ? parse_cfs_quota(*quota, *period) : std::nullopt;
}

/// Takes the tightest quota of a cgroup and its ancestors: each of them applies.
Quota walk_up(std::string_view mount, std::string_view path, const ReadFile& read,
              Quota (*read_one)(const std::string&, const ReadFile&)) {
    Quota quota;
    // A cgroup outside of our namespace's root is shown as "/../x", and cannot be seen.
    if (path.find("/..") != path.npos) path = {};
    while (!path.empty()) {
        if (!path.ends_with('/'))
            quota = tighter(quota, read_one(fmt::format("{}{}", mount, path), read));
        path = path.substr(0, path.rfind('/') == path.npos ? 0 : path.rfind('/'));
    }
    return tighter(quota, read_one(std::string{mount}, read));
}

bool lists_cpu(std::string_view controllers) {
    while (!controllers.empty())
        if (cut(controllers, ',') == "cpu") return true;
    return false;
}

std::optional<std::string> read_small_file(const std::string& path) {
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return std::nullopt;
    std::string text(max_file_bytes, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
        if (got < 0) return std::nullopt;
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    text.resize(size);
    return text;
}

/// Returns the processors this process may run on; empty when the kernel does not say.
std::vector<cpu_set_t> affinity_mask() {
    // The kernel refuses a mask that is smaller than its own: EINVAL.
    for (std::size_t cpus = CPU_SETSIZE; cpus <= max_cpus; cpus *= 2) {
        std::vector<cpu_set_t> set(cpus / CPU_SETSIZE);
        if (::sched_getaffinity(0, set.size() * sizeof(cpu_set_t), set.data()) == 0) return set;
    }
    return {};
}

std::uint32_t affinity_count() {
    const std::vector<cpu_set_t> set = affinity_mask();
    if (!set.empty())
        return static_cast<std::uint32_t>(CPU_COUNT_S(set.size() * sizeof(cpu_set_t), set.data()));
    return static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

Quota parse_cpu_max(std::string_view text) {
    const std::string_view quota = cut(text, ' ');
    return rounded_up(parse_number(quota), parse_number(text));
}

Quota parse_cfs_quota(std::string_view quota_us, std::string_view period_us) {
    return rounded_up(parse_number(quota_us), parse_number(period_us));
}

Quota cgroup_cpu_quota(std::string_view self_cgroup, const ReadFile& read) {
    Quota quota;
    while (!self_cgroup.empty()) {
        // "hierarchy:controllers:path"; version 2 has neither a number nor controllers: "0::/path"
        std::string_view path = cut(self_cgroup, '\n');
        const auto hierarchy = cut(path, ':');
        const auto controllers = cut(path, ':');
        if (hierarchy == "0" && controllers.empty()) {
            quota = tighter(quota, walk_up(cgroup_root, path, read, read_v2));
        } else if (lists_cpu(controllers)) {
            const auto joint = fmt::format("{}/{}", cgroup_root, controllers);
            const auto single = fmt::format("{}/cpu", cgroup_root);
            quota = tighter(quota, walk_up(joint, path, read, read_v1));
            if (joint != single) quota = tighter(quota, walk_up(single, path, read, read_v1));
        }
    }
    return quota;
}

Result<std::uint32_t> stay_on_processor(std::uint32_t index) {
    std::vector<cpu_set_t> set = affinity_mask();
    const std::size_t bytes = set.size() * sizeof(cpu_set_t);
    if (set.empty()) return Error::last("sched_getaffinity");
    std::uint32_t passes = index % static_cast<std::uint32_t>(CPU_COUNT_S(bytes, set.data()));
    std::uint32_t cpu = 0;
    while (CPU_ISSET_S(cpu, bytes, set.data()) == 0 || passes-- > 0) ++cpu;
    CPU_ZERO_S(bytes, set.data());
    CPU_SET_S(cpu, bytes, set.data());
    if (::sched_setaffinity(0, bytes, set.data()) != 0) return Error::last("sched_setaffinity");
    return cpu;
}

Result<void> set_nice(int nice) {
    if (::setpriority(PRIO_PROCESS, 0, nice) != 0) return Error::last("setpriority");
    return {};
}

std::uint32_t available_cpus() {
    const auto cgroup = read_small_file("/proc/self/cgroup");
    const Quota quota = cgroup ? cgroup_cpu_quota(*cgroup, read_small_file) : std::nullopt;
    const std::uint32_t count = affinity_count();
    return std::max(1U, std::min(count, quota.value_or(count)));
}

}  // namespace ringfort::process
