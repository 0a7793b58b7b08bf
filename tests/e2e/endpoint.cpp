#include "endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "owned_fd.h"

namespace e2e {
namespace {

constexpr std::size_t path_offset = offsetof(sockaddr_un, sun_path);

template <class Form>
Form& as(sockaddr_storage& storage) {
    return reinterpret_cast<Form&>(storage);
}
template <class Form>
const Form& as(const sockaddr_storage& storage) {
    return reinterpret_cast<const Form&>(storage);
}

}  // namespace

Endpoint Endpoint::parse(std::string_view text) {
    Endpoint result;
    const auto refuse = [&] {
        throw std::invalid_argument{"not an address: " + std::string{text}};
    };
    if (text.starts_with("unix:")) {
        const std::string path{text.substr(5)};
        auto& address = as<sockaddr_un>(result.storage_);
        if (path.empty() || path.size() >= sizeof address.sun_path) refuse();
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
        result.size_ = static_cast<socklen_t>(path_offset + path.size() + 1);
        return result;
    }
    const auto colon = text.rfind(':');
    if (colon == text.npos) refuse();
    std::string host{text.substr(0, colon)};
    const auto port = static_cast<std::uint16_t>(std::stoi(std::string{text.substr(colon + 1)}));
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
        auto& address = as<sockaddr_in6>(result.storage_);
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(port);
        if (::inet_pton(AF_INET6, host.c_str(), &address.sin6_addr) != 1) refuse();
        result.size_ = sizeof address;
        return result;
    }
    auto& address = as<sockaddr_in>(result.storage_);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) refuse();
    result.size_ = sizeof address;
    return result;
}

Endpoint Endpoint::of_socket(int fd) {
    Endpoint result;
    result.size_ = sizeof result.storage_;
    if (::getsockname(fd, &as<sockaddr>(result.storage_), &result.size_) != 0)
        throw std::system_error{errno, std::generic_category(), "getsockname"};
    return result;
}

Endpoint Endpoint::of_peer(int fd) {
    Endpoint result;
    result.size_ = sizeof result.storage_;
    if (::getpeername(fd, &as<sockaddr>(result.storage_), &result.size_) != 0)
        throw std::system_error{errno, std::generic_category(), "getpeername"};
    return result;
}

std::uint16_t Endpoint::port() const noexcept {
    if (family() == AF_INET) return ntohs(as<sockaddr_in>(storage_).sin_port);
    if (family() == AF_INET6) return ntohs(as<sockaddr_in6>(storage_).sin6_port);
    return 0;
}

std::string Endpoint::unix_path() const {
    return family() == AF_UNIX ? as<sockaddr_un>(storage_).sun_path : "";
}

std::string Endpoint::text() const {
    char host[INET6_ADDRSTRLEN] = "?";
    if (family() == AF_UNIX) return "unix:" + unix_path();
    if (family() == AF_INET6) {
        ::inet_ntop(AF_INET6, &as<sockaddr_in6>(storage_).sin6_addr, host, sizeof host);
        return "[" + std::string{host} + "]:" + std::to_string(port());
    }
    ::inet_ntop(AF_INET, &as<sockaddr_in>(storage_).sin_addr, host, sizeof host);
    return std::string{host} + ":" + std::to_string(port());
}

OwnedFd reserve(const Endpoint& endpoint) {
    OwnedFd fd{::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!fd || ::bind(fd.get(), endpoint.data(), endpoint.size()) != 0)
        throw std::system_error{errno, std::generic_category(), "bind " + endpoint.text()};
    return fd;
}

OwnedFd listen_on(const Endpoint& endpoint, int backlog) {
    OwnedFd fd = reserve(endpoint);
    if (::listen(fd.get(), backlog) != 0)
        throw std::system_error{errno, std::generic_category(), "listen " + endpoint.text()};
    return fd;
}

}  // namespace e2e
