module;
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.process;

import ringfort.base;
import :variable;

namespace ringfort::process {
namespace {

/// The first descriptor that is passed; the others follow (SD_LISTEN_FDS_START).
constexpr RawFd first_passed = STDERR_FILENO + 1;

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> parts;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(':'), text.size());
        parts.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

}  // namespace

std::vector<PassedFd> take_passed_fds() {
    const auto pid = number(take_variable("LISTEN_PID"));
    const std::string wanted = take_variable("LISTEN_FDS");
    const std::vector<std::string> names = split(take_variable("LISTEN_FDNAMES"));
    if (wanted.empty() || pid != ::getpid()) return {};
    const auto count = number(wanted);
    if (!count || *count < 0 || *count > limits::max_passed_fds) {
        log::error("LISTEN_FDS={} is no number of descriptors: none is used", wanted);
        return {};
    }
    std::vector<PassedFd> passed;
    for (std::int64_t i = 0; i < *count; ++i) {
        const RawFd fd = first_passed + static_cast<RawFd>(i);
        const auto index = static_cast<std::size_t>(i);
        std::string name = index < names.size() ? names[index] : "unknown";
        // What this process has opened itself is closed on exec, all of it.
        const int flags = ::fcntl(fd, F_GETFD);
        if (flags < 0 || (flags & FD_CLOEXEC) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
            log::error("LISTEN_FDS={}, but descriptor {} was not passed", wanted, fd);
            continue;
        }
        passed.push_back({.name = std::move(name), .fd = Fd{fd}});
    }
    return passed;
}

}  // namespace ringfort::process
