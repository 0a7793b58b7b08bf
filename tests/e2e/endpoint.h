#pragma once
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "owned_fd.h"

namespace e2e {

/// An address to connect or bind to, in the spelling of Ringfort's configuration:
/// "127.0.0.1:80", "[::1]:80", "unix:/path".
class Endpoint {
public:
    Endpoint() = default;
    /// Throws std::invalid_argument on anything else.
    [[nodiscard]] static Endpoint parse(std::string_view text);
    [[nodiscard]] static Endpoint of_socket(int fd);
    [[nodiscard]] static Endpoint of_peer(int fd);

    [[nodiscard]] const sockaddr* data() const noexcept {
        return reinterpret_cast<const sockaddr*>(&storage_);
    }
    [[nodiscard]] socklen_t size() const noexcept { return size_; }
    [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
    [[nodiscard]] std::uint16_t port() const noexcept;
    [[nodiscard]] std::string unix_path() const;
    [[nodiscard]] std::string text() const;

private:
    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

/// Returns a bound, listening, non-blocking socket.
[[nodiscard]] OwnedFd listen_on(const Endpoint& endpoint, int backlog = 4096);
/// Returns a socket that is bound and does not listen: its port refuses connections, and nobody
/// else can take it meanwhile.
[[nodiscard]] OwnedFd reserve(const Endpoint& endpoint);

}  // namespace e2e
