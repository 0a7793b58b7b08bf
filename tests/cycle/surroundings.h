/// What the tests of cycles look at: descriptors, connections, settings.
/// Include it after the imports.
#pragma once
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "../temp_dir.h"

namespace testing {

inline std::size_t open_descriptors() {
    std::filesystem::directory_iterator found{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(found), end(found)));
}

/// Connects to where somebody listens; returns 0 or the error number.
inline int connect_to(const ringfort::Address& address) {
    const ringfort::Fd client{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    return ::connect(client.get(), address.data(), address.size()) == 0 ? 0 : errno;
}

/// Look at how much each socket of a group has got.
inline int sum(const std::vector<int>& counts) {
    return std::accumulate(counts.begin(), counts.end(), 0);
}
inline bool each_has_some(const std::vector<int>& counts) {
    return std::ranges::none_of(counts, [](int count) { return count == 0; });
}

inline unsigned permissions(const std::string& path) {
    struct stat status{};
    ringfort::ensure(::stat(path.c_str(), &status) == 0, "stat");
    return status.st_mode & 07777U;
}

inline ringfort::config::Listener listener(const std::string& address,
                                           const std::string& service = "echo") {
    ringfort::config::Listener settings;
    settings.address = ringfort::Address::parse(address).value();
    settings.service = service;
    return settings;
}

}  // namespace testing
