// The one place of the layer that touches a file.
module;
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

Problems unreadable(const std::string& path, std::string message, std::string help) {
    return Problems{{{path, std::move(message), {}, std::move(help), {}}}};
}

std::string help_for(int error) {
    switch (error) {
        case ENOENT:
            return "check the path; it is looked for from the working directory";
        case EACCES:
            return fmt::format("let user {} read the file and enter the directories above it",
                               ::geteuid());
        case EISDIR:
            return "name a file";
        default:
            return "";
    }
}

Problems failed(const std::string& path, int error) {
    return unreadable(path,
                      fmt::format("cannot be read: {}", std::generic_category().message(error)),
                      help_for(error));
}

/// Reads at most one byte more than a configuration may have. Returns 0 or an errno.
int read_all(RawFd fd, std::string& out) {
    std::array<char, 65'536> block{};
    while (out.size() <= limits::max_config_size.count) {
        const std::size_t room = limits::max_config_size.count + 1 - out.size();
        const ssize_t got = ::read(fd, block.data(), std::min(block.size(), room));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno;
        if (got == 0) return 0;
        out.append(block.data(), static_cast<std::size_t>(got));
    }
    return 0;
}

}  // namespace

Read read(const std::string& path) {
    if (path.empty() || path.find('\0') != path.npos) return failed(path, ENOENT);
    // A FIFO that nobody writes to reads as empty instead of stopping a master at its reload.
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
    if (!file) return failed(path, errno);
    (void)::fcntl(file.get(), F_SETFL, ::fcntl(file.get(), F_GETFL) & ~O_NONBLOCK);
    Source source{path, {}};
    if (const int error = read_all(file.get(), source.text); error != 0) return failed(path, error);
    return source;
}

Parsed load(const std::string& path, const Registry& registry) {
    const Read text = read(path);
    if (const auto* problems = std::get_if<Problems>(&text)) return *problems;
    return parse(std::get<Source>(text), registry);
}

}  // namespace ringfort::config
