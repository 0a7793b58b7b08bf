module;
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
module ringfort.base;

namespace ringfort {
namespace {

constexpr std::size_t path_offset = offsetof(sockaddr_un, sun_path);

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return port;
}

Result<Address> parse_unix(std::string_view path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path == "@" || path.find('\0') != path.npos)
        return Error{"parse an address", std::errc::invalid_argument};
    if (path.size() >= sizeof address.sun_path)
        return Error{"parse an address", std::errc::filename_too_long};
    std::memcpy(address.sun_path, path.data(), path.size());
    const bool abstract = path.front() == '@';
    if (abstract) address.sun_path[0] = '\0';
    const std::size_t terminator = abstract ? 0 : 1;
    return Address::from(reinterpret_cast<const sockaddr*>(&address),
                         static_cast<socklen_t>(path_offset + path.size() + terminator));
}

Result<Address> parse_ip(std::string_view host, std::uint16_t port) {
    if (host.starts_with('[') && host.ends_with(']')) {
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(port);
        const std::string literal{host.substr(1, host.size() - 2)};
        if (::inet_pton(AF_INET6, literal.c_str(), &address.sin6_addr) != 1)
            return Error{"parse an address", std::errc::invalid_argument};
        return Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    const std::string literal{host == "*" ? std::string_view{"0.0.0.0"} : host};
    if (::inet_pton(AF_INET, literal.c_str(), &address.sin_addr) != 1)
        return Error{"parse an address", std::errc::invalid_argument};
    return Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
    if (text.starts_with("unix:")) return parse_unix(text.substr(5));
    const auto colon = text.rfind(':');
    if (colon == text.npos) return Error{"parse an address", std::errc::invalid_argument};
    const auto port = parse_port(text.substr(colon + 1));
    if (!port) return Error{"parse an address", std::errc::invalid_argument};
    return parse_ip(text.substr(0, colon), *port);
}

Address Address::from(const sockaddr* address, socklen_t size) noexcept {
    Address result;
    result.size_ = std::min<socklen_t>(size, sizeof result.storage_);
    std::memcpy(&result.storage_, address, result.size_);
    return result;
}

Result<Address> Address::of_socket(int fd) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0)
        return Error::last("getsockname");
    return from(reinterpret_cast<const sockaddr*>(&storage), size);
}

std::uint16_t Address::port() const noexcept {
    if (family() == AF_INET)
        return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
    if (family() == AF_INET6)
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
    return 0;
}

std::string Address::host() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (family() == AF_INET)
        ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr, text,
                    sizeof text);
    else if (family() == AF_INET6)
        ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr, text,
                    sizeof text);
    else if (is_unix() && size_ > path_offset) {
        std::string path{reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path,
                         size_ - path_offset};
        if (path.front() == '\0')
            path.front() = '@';
        else
            path.resize(std::strlen(path.c_str()));
        return path;
    }
    return text;
}

std::string Address::path() const {
    std::string name = is_unix() ? host() : std::string{};
    return name.starts_with('@') ? std::string{} : name;
}

std::string Address::text() const {
    if (family() == AF_INET) return host() + ":" + std::to_string(port());
    if (family() == AF_INET6) return "[" + host() + "]:" + std::to_string(port());
    if (is_unix()) return "unix:" + host();
    return "unknown";
}

bool operator==(const Address& a, const Address& b) noexcept {
    return a.size_ == b.size_ && std::memcmp(&a.storage_, &b.storage_, a.size_) == 0;
}

}  // namespace ringfort
