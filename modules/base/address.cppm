module;
#include <sys/socket.h>
export module ringfort.base:address;

import ringfort.std;
import :error;
import :result;

export namespace ringfort {

/// A socket address: IPv4, IPv6 or unix. A value; owns no descriptor and no file.
class Address {
public:
    Address() noexcept = default;

    /// Parses "127.0.0.1:7000", "[::1]:7000", "*:7000" (every IPv4 address), "[::]:7000",
    /// "unix:/run/a.sock" or "unix:@name" (abstract). Names are not resolved. Port 0 lets the
    /// kernel pick. Errors: EINVAL; ENAMETOOLONG for a unix path over 107 bytes.
    [[nodiscard]] static Result<Address> parse(std::string_view text);
    /// Copies what the kernel filled in. `size` is at most sizeof(sockaddr_storage).
    [[nodiscard]] static Address from(const sockaddr* address, socklen_t size) noexcept;
    /// Asks which address the socket is bound to. Errors: those of getsockname(2).
    [[nodiscard]] static Result<Address> of_socket(int fd);

    /// What bind(2) and connect(2) take, valid as long as the Address. One that was never set has
    /// size 0 and family AF_UNSPEC.
    [[nodiscard]] const sockaddr* data() const noexcept {
        return reinterpret_cast<const sockaddr*>(&storage_);
    }
    [[nodiscard]] socklen_t size() const noexcept { return size_; }
    [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
    [[nodiscard]] bool is_unix() const noexcept { return family() == AF_UNIX; }
    /// Returns the port, 0 for a unix address.
    [[nodiscard]] std::uint16_t port() const noexcept;
    /// Returns the IP address without the port, or the unix path.
    [[nodiscard]] std::string host() const;
    /// Returns the path of a unix socket that lives in the file system; empty for all others.
    [[nodiscard]] std::string path() const;
    /// Returns the spelling that `parse` takes.
    [[nodiscard]] std::string text() const;

    friend bool operator==(const Address& a, const Address& b) noexcept;

private:
    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

}  // namespace ringfort
