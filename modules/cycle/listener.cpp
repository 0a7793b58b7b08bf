module;
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <ringfort/try.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
module ringfort.cycle;

import ringfort.base;
import ringfort.config;

namespace ringfort::cycle {
namespace {

Result<void> set_option(const Fd& socket, int level, int option, Step step) {
    const int on = 1;
    if (::setsockopt(socket.get(), level, option, &on, sizeof on) != 0) return Error::last(step);
    return {};
}

Result<Fd> make_socket(const Address& address) {
    // In blocking mode: workers wait for connections in the kernel, through their rings.
    Fd socket{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) return Error::last("socket");
    if (address.is_unix()) return socket;
    RF_TRY(set_option(socket, SOL_SOCKET, SO_REUSEADDR, "setsockopt(SO_REUSEADDR)"));
    // Accepted sockets inherit it: one system call a listener instead of one a connection.
    RF_TRY(set_option(socket, IPPROTO_TCP, TCP_NODELAY, "setsockopt(TCP_NODELAY)"));
    if (address.family() == AF_INET6)
        RF_TRY(set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, "setsockopt(IPV6_V6ONLY)"));
    return socket;
}

/// Whether the socket file is there but nobody listens on it any more.
bool is_stale(const Address& address) {
    struct stat status{};
    if (::stat(address.path().c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
    const Fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!probe) return false;
    return ::connect(probe.get(), address.data(), address.size()) != 0 && errno == ECONNREFUSED;
}

Result<void> bind(const Fd& socket, const Address& address) {
    for (std::uint32_t attempt = 1;; ++attempt) {
        if (::bind(socket.get(), address.data(), address.size()) == 0) return {};
        const Error error = Error::last("bind");
        if (!error.is(std::errc::address_in_use)) return error;
        if (!address.path().empty()) {
            if (attempt > 1 || !is_stale(address)) return error;
            (void)::unlink(address.path().c_str());
            continue;
        }
        if (attempt == limits::bind_attempts) return error;
        const timespec pause{.tv_sec = 0, .tv_nsec = limits::bind_retry_ms.count() * 1'000'000};
        (void)::nanosleep(&pause, nullptr);
    }
}

Result<void> set_mode(const Address& address, const config::Listener& settings) {
    if (!settings.mode || address.path().empty()) return {};
    if (::chmod(address.path().c_str(), settings.mode->bits) != 0) return Error::last("chmod");
    return {};
}

Result<void> listen(const Fd& socket, std::uint32_t backlog) {
    if (::listen(socket.get(), static_cast<int>(backlog)) != 0) return Error::last("listen");
    return {};
}

}  // namespace

Result<std::shared_ptr<Listener>> Listener::open(const config::Listener& settings) {
    const Address& address = settings.address;
    RF_LET(Fd socket, make_socket(address));
    RF_TRY(bind(socket, address));
    RF_LET(const Address bound, Address::of_socket(socket.get()));
    // From here on the socket file is the listener's, which removes it if a later step fails.
    std::shared_ptr<Listener> listener{new Listener{std::move(socket), address, bound}};
    RF_TRY(set_mode(address, settings));  // before listening: nobody connects under the wrong mode
    RF_TRY(listen(listener->socket_, settings.backlog));
    return listener;
}

Result<std::shared_ptr<Listener>> Listener::adopt(Fd socket, const Address& configured) {
    int listens = 0;
    socklen_t size = sizeof listens;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0)
        return Error::last("getsockopt(SO_ACCEPTCONN)");
    if (listens == 0) return Error{"adopt a listener", EINVAL};
    RF_LET(const Address bound, Address::of_socket(socket.get()));
    std::shared_ptr<Listener> listener{new Listener{std::move(socket), configured, bound}};
    listener->disown();
    return listener;
}

Listener::Listener(Fd socket, const Address& configured, const Address& bound) noexcept
    : socket_{std::move(socket)}, configured_{configured}, bound_{bound}, owner_{::getpid()} {
    struct stat status{};
    if (bound_.path().empty() || ::stat(bound_.path().c_str(), &status) != 0) return;
    device_ = status.st_dev;
    inode_ = status.st_ino;
}

Listener::~Listener() {
    if (owner_ == ::getpid() && file_is_ours()) (void)::unlink(bound_.path().c_str());
}

bool Listener::file_is_ours() const noexcept {
    struct stat status{};
    return !bound_.path().empty() && ::stat(bound_.path().c_str(), &status) == 0 &&
           status.st_dev == device_ && status.st_ino == inode_;
}

void Listener::own() noexcept {
    owner_ = ::getpid();
}

void Listener::update(const config::Listener& settings) const {
    const auto listened = listen(socket_, settings.backlog);
    if (!listened) log::warning("{}: {}", bound_.text(), listened.error().text());
    const auto changed = set_mode(bound_, settings);
    if (!changed) log::warning("{}: {}", bound_.text(), changed.error().text());
}

}  // namespace ringfort::cycle
