#include "log_file.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "deadline.h"
#include "files.h"
#include "owned_fd.h"

namespace e2e {

LogFile::LogFile(std::string path)
    : path_{std::move(path)}, watch_{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)} {
    const std::string directory = std::filesystem::path{path_}.parent_path().string();
    if (::inotify_add_watch(watch_.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) <
        0)
        throw std::system_error{errno, std::generic_category(), "inotify " + directory};
}

std::string LogFile::text() const {
    return read_file(path_);
}

std::vector<std::string> LogFile::lines() const {
    return find("");
}

std::vector<std::string> LogFile::find(std::string_view part, std::size_t mark) const {
    std::vector<std::string> result;
    const std::string all = text();
    for (std::size_t at = mark; at < all.size();) {
        const std::size_t end = all.find('\n', at);
        if (end == all.npos) break;
        std::string line = all.substr(at, end - at);
        if (line.find(part) != line.npos) result.push_back(std::move(line));
        at = end + 1;
    }
    return result;
}

std::string LogFile::wait_for(std::string_view part, std::size_t mark, Deadline deadline) {
    while (true) {
        char events[4096];
        while (::read(watch_.get(), events, sizeof events) > 0) continue;
        if (const auto found = find(part, mark); !found.empty()) return found.front();
        pollfd entry{watch_.get(), POLLIN, 0};
        if (deadline.expired() || ::poll(&entry, 1, deadline.remaining_ms()) == 0)
            throw std::runtime_error{"no line with \"" + std::string{part} + "\" in:\n" + text()};
    }
}

}  // namespace e2e
