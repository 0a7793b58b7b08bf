module;
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <ringfort/try.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
module ringfort.cycle;

import ringfort.base;
import ringfort.config;
import ringfort.process;

namespace ringfort::cycle {
namespace {

using config::Protocol;

Result<void> set_option(const Fd& socket, int level, int option, Step step, int value = 1) {
    if (::setsockopt(socket.get(), level, option, &value, sizeof value) != 0)
        return Error::last(step);
    return {};
}

/// The kernel counts these times in seconds: a part of one is rounded up.
int seconds(Milliseconds time) {
    return static_cast<int>(std::chrono::ceil<std::chrono::seconds>(time).count());
}

/// Has the kernel say of a datagram which of the machine's addresses it was sent to, where several
/// may be meant: the answer is to come from that one. Source: nginx ngx_connection.c,
/// ngx_configure_listening_sockets.
Result<void> tell_addresses(const Fd& socket, const Address& address) {
    if (address.family() == AF_INET6)
        return set_option(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, "setsockopt(IPV6_RECVPKTINFO)");
    return set_option(socket, IPPROTO_IP, IP_PKTINFO, "setsockopt(IP_PKTINFO)");
}

/// Sets what accepted sockets inherit, and how connections become accepted ones.
Result<void> set_options(const Fd& socket, const config::Listener& settings) {
    if (settings.receive_buffer)
        RF_TRY(set_option(socket, SOL_SOCKET, SO_RCVBUF, "setsockopt(SO_RCVBUF)",
                          static_cast<int>(settings.receive_buffer->count)));
    if (settings.send_buffer)
        RF_TRY(set_option(socket, SOL_SOCKET, SO_SNDBUF, "setsockopt(SO_SNDBUF)",
                          static_cast<int>(settings.send_buffer->count)));
    if (settings.address.is_unix()) return {};
    if (settings.protocol == Protocol::udp) return tell_addresses(socket, settings.address);
    RF_TRY(set_option(socket, IPPROTO_TCP, TCP_FASTOPEN, "setsockopt(TCP_FASTOPEN)",
                      static_cast<int>(settings.fast_open)));
    RF_TRY(set_option(socket, IPPROTO_TCP, TCP_DEFER_ACCEPT, "setsockopt(TCP_DEFER_ACCEPT)",
                      seconds(settings.defer_accept)));
    const int idle = seconds(settings.keepalive);
    RF_TRY(
        set_option(socket, SOL_SOCKET, SO_KEEPALIVE, "setsockopt(SO_KEEPALIVE)", idle > 0 ? 1 : 0));
    if (idle > 0)
        RF_TRY(set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, "setsockopt(TCP_KEEPIDLE)", idle));
    return {};
}

Result<void> let_others_join(const Fd& socket, bool may) {
    return set_option(socket, SOL_SOCKET, SO_REUSEPORT, "setsockopt(SO_REUSEPORT)", may ? 1 : 0);
}

Result<Fd> make_socket(const Address& address, Protocol protocol) {
    // In blocking mode: workers wait for connections in the kernel, through their rings.
    const int type = protocol == Protocol::udp ? SOCK_DGRAM : SOCK_STREAM;
    Fd socket{::socket(address.family(), type | SOCK_CLOEXEC, 0)};
    if (!socket) return Error::last("socket");
    if (address.is_unix()) return socket;
    if (protocol == Protocol::tcp) {  // of UDP it would share the address with strangers
        RF_TRY(set_option(socket, SOL_SOCKET, SO_REUSEADDR, "setsockopt(SO_REUSEADDR)"));
        // Accepted sockets inherit it: one system call a listener instead of one a connection.
        RF_TRY(set_option(socket, IPPROTO_TCP, TCP_NODELAY, "setsockopt(TCP_NODELAY)"));
    }
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

/// Whoever owns the file may change its mode: the mode goes last.
Result<void> set_access(const Address& address, const config::Listener& settings,
                        const Owner& owner) {
    constexpr auto unchanged = static_cast<uid_t>(-1);
    const std::string path = address.path();
    if (path.empty()) return {};
    if ((owner.user || owner.group) &&
        ::chown(path.c_str(), owner.user.value_or(unchanged), owner.group.value_or(unchanged)) != 0)
        return Error::last("chown");
    if (settings.mode && ::chmod(path.c_str(), settings.mode->bits) != 0)
        return Error::last("chmod");
    return {};
}

Result<void> listen(const Fd& socket, std::uint32_t backlog) {
    if (::listen(socket.get(), static_cast<int>(backlog)) != 0) return Error::last("listen");
    return {};
}

}  // namespace

Result<Owner> find_owner(const config::Listener& settings) {
    Owner owner;
    if (!settings.owner.empty()) {
        RF_LET(owner.user, process::find_user_id(settings.owner));
    }
    if (!settings.group.empty()) {
        RF_LET(owner.group, process::find_group_id(settings.group));
    }
    return owner;
}

Result<std::shared_ptr<Listener>> Listener::open(const config::Listener& settings,
                                                 const Owner& owner) {
    const Address& address = settings.address;
    RF_LET(Fd socket, make_socket(address, settings.protocol));
    RF_TRY(set_options(socket, settings));  // before it is bound: datagrams come from then on
    RF_TRY(bind(socket, address));
    // Not before: another server at this address is an obstacle, and nobody to share it with.
    if (settings.reuseport) RF_TRY(let_others_join(socket, true));
    RF_LET(const Address bound, Address::of_socket(socket.get()));
    // From here on the socket file is the listener's, which removes it if a later step fails.
    std::shared_ptr<Listener> listener{
        new Listener{std::move(socket), address, bound, settings.protocol}};
    listener->listening_ = settings.protocol == Protocol::udp;
    RF_TRY(set_access(bound, settings, owner));  // before listening: nobody connects too early
    RF_TRY(listener->begin(settings));
    return listener;
}

Result<std::shared_ptr<Listener>> Listener::adopt(Fd socket, const Address& configured) {
    int type = 0;
    int listens = 0;
    socklen_t size = sizeof listens;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 ||
        ::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0)
        return Error::last("getsockopt");
    RF_LET(Address bound, Address::of_socket(socket.get()));
    const Protocol protocol = type == SOCK_DGRAM ? Protocol::udp : Protocol::tcp;
    const bool is_bound = !bound.is_unix() && bound.port() != 0;
    if (protocol == Protocol::udp) {
        if (bound.is_unix() || configured.family() != bound.family())
            return Error{"adopt a listener", EINVAL};
        listens = is_bound ? 1 : 0;
        if (!is_bound) bound = configured;  // what it is to be bound to
    }
    if (listens == 0 && !is_bound && protocol == Protocol::tcp)
        return Error{"adopt a listener", EINVAL};
    std::shared_ptr<Listener> listener{
        new Listener{std::move(socket), configured, bound, protocol}};
    listener->listening_ = listens != 0;
    listener->disown();
    return listener;
}

Result<std::shared_ptr<Listener>> Listener::open_beside(const config::Listener& settings,
                                                        Bound bound) const {
    RF_LET(Fd socket, make_socket(bound_, protocol_));
    RF_TRY(let_others_join(socket, true));
    RF_TRY(set_options(socket, settings));
    const bool udp = protocol_ == Protocol::udp;
    if (bound == Bound::at_once) {
        RF_TRY(let_others_join(socket_, true));
        if (!udp) RF_TRY(bind(socket, bound_));  // UDP: then it would get its share already
    }
    return std::shared_ptr<Listener>{
        new Listener{std::move(socket), udp ? bound_ : configured_, bound_, protocol_}};
}

Result<void> Listener::begin(const config::Listener& settings) {
    if (listening_) return {};
    if (protocol_ == Protocol::tcp)
        RF_TRY(listen(socket_, settings.backlog));
    else if (::bind(socket_.get(), bound_.data(), bound_.size()) != 0)
        return Error::last("bind");
    listening_ = true;
    return {};
}

Listener::Listener(Fd socket, const Address& configured, const Address& bound,
                   Protocol protocol) noexcept
    : socket_{std::move(socket)},
      configured_{configured},
      bound_{bound},
      owner_{::getpid()},
      protocol_{protocol} {
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
    if (!foreign_) owner_ = ::getpid();
}

bool Listener::has_waiting() const noexcept {
    pollfd polled{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&polled, 1, 0) > 0 && (polled.revents & POLLIN) != 0;
}

void Listener::update(const config::Listener& settings, const Owner& owner) const {
    const auto warn = [this](const Result<void>& done) {
        if (!done) log::warning("{}: {}", text(), done.error().text());
    };
    if (protocol_ == Protocol::tcp) warn(listen(socket_, settings.backlog));
    warn(set_options(socket_, settings));
    if (!bound_.is_unix()) warn(let_others_join(socket_, settings.reuseport));
    warn(set_access(bound_, settings, owner));
}

Result<void> Listener::direct_to_first(std::uint32_t count) const {
    if (count == 0) {
        // The value is not looked at. ENOENT: nothing was attached, so all get their share.
        const auto detached = set_option(socket_, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF,
                                         "setsockopt(SO_DETACH_REUSEPORT_BPF)");
        if (!detached && detached.error().is(std::errc::no_such_file_or_directory)) return {};
        return detached;
    }
    // A random number below `count`: which of the group's sockets a new connection goes to.
    sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_RANDOM)},
        {BPF_ALU | BPF_MOD | BPF_K, 0, 0, count},
        {BPF_RET | BPF_A, 0, 0, 0}};
    const sock_fprog program{.len = std::size(code), .filter = code};
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
                     sizeof program) != 0)
        return Error::last("setsockopt(SO_ATTACH_REUSEPORT_CBPF)");
    return {};
}

void Listener::end() const noexcept {
    if (protocol_ == Protocol::tcp)
        (void)::shutdown(socket_.get(), SHUT_RDWR);
    else  // of UDP shutdown(2) would leave it in the group; the kernel passes over connected ones
        (void)::connect(socket_.get(), bound_.data(), bound_.size());
}

}  // namespace ringfort::cycle
