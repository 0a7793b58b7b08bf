/// What the tests of cycles look at: a directory of their own, descriptors, connections.
/// Include it after the imports.
#pragma once
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>

namespace testing {

/// A directory that goes with the test.
class Directory {
public:
    Directory() {
        std::string name = (std::filesystem::temp_directory_path() / "rf-cycle-XXXXXX").string();
        ringfort::ensure(::mkdtemp(name.data()) != nullptr, "mkdtemp");
        path_ = name;
    }
    Directory(Directory&&) = delete;
    ~Directory() { std::filesystem::remove_all(path_); }
    [[nodiscard]] std::string file(const char* name) const { return (path_ / name).string(); }
    [[nodiscard]] std::size_t entries() const {
        std::filesystem::directory_iterator found{path_};
        return static_cast<std::size_t>(std::distance(begin(found), end(found)));
    }

private:
    std::filesystem::path path_;
};

inline std::size_t open_descriptors() {
    std::filesystem::directory_iterator found{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(found), end(found)));
}

/// Connects to where somebody listens; returns 0 or the error number.
inline int connect_to(const ringfort::Address& address) {
    const ringfort::Fd client{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    return ::connect(client.get(), address.data(), address.size()) == 0 ? 0 : errno;
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
