#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "owned_fd.h"

namespace e2e {

/// A service manager's socket for sd_notify(3), named in the environment of what is started while
/// it lives.
class NotifySocket {
public:
    explicit NotifySocket(const std::string& path);
    ~NotifySocket();
    NotifySocket(const NotifySocket&) = delete;

    struct Message {
        std::string text;
        std::vector<OwnedFd> fds;
    };
    /// Returns the next message; an empty one when none comes within so many milliseconds.
    [[nodiscard]] Message receive(int timeout_ms) const;

private:
    OwnedFd fd_;
};

}  // namespace e2e
