module;
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <ringfort/try.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.cycle;

import ringfort.base;
import ringfort.process;
import ringfort.shm;

namespace ringfort::cycle {
namespace {

constexpr std::string_view shared_name = "ringfort";

std::string name_of_slot(std::size_t slot) {
    return std::string{shared_name} + "-" + std::to_string(slot);
}

/// Returns the place in the order in which the sockets of an address are to come: what a socket
/// unit has opened, what all share, then slot by slot. The manager has an order of its own.
std::int64_t place_of(std::string_view name) {
    if (!name.starts_with(shared_name)) return -2;
    name.remove_prefix(std::min(name.size(), shared_name.size() + 1));
    std::int64_t slot = -1;
    (void)std::from_chars(name.data(), name.data() + name.size(), slot);
    return slot;
}

ino_t identity(RawFd fd) noexcept {
    struct stat status{};
    return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

std::set<ino_t> identities(const Stock& stock) {
    std::set<ino_t> known;
    for (const Group& group : stock.groups)
        for (const auto& listener : group.listeners)
            known.insert(identity(listener->socket().get()));
    for (const SharedZone& zone : stock.zones) known.insert(identity(zone->fd()));
    return known;
}

bool is_socket(const Fd& fd) noexcept {
    struct stat status{};
    return ::fstat(fd.get(), &status) == 0 && S_ISSOCK(status.st_mode);
}

/// Takes a listening socket over that has none of our options.
Result<std::shared_ptr<Listener>> accept_listener(Fd socket) {
    constexpr Step step{"take a socket of the service manager"};
    int type = 0;
    int listens = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
        ::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0)
        return Error::last("getsockopt");
    if (type != SOCK_STREAM || listens == 0) return Error{step, EINVAL};
    RF_LET(const Address bound, Address::of_socket(socket.get()));
    const int flags = ::fcntl(socket.get(), F_GETFL);
    if (::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return Error::last("fcntl");
    const int on = 1;
    if (!bound.is_unix() &&
        ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        return Error::last("setsockopt(TCP_NODELAY)");
    return Listener::adopt(std::move(socket), bound);
}

}  // namespace

Passed accept_passed(std::vector<process::PassedFd> passed, const Stock& known) {
    Passed accepted;
    std::set<ino_t> seen = identities(known);
    std::ranges::sort(passed, {}, [](const auto& one) { return place_of(one.name); });
    for (auto& [name, fd] : passed) {
        const bool ours = name.starts_with(shared_name);
        const ino_t inode = identity(fd.get());
        if (ours) accepted.kept[name].push_back(inode);
        if (!seen.insert(inode).second) continue;
        Result<void> taken;
        if (is_socket(fd)) {
            auto listener = accept_listener(std::move(fd));
            if (listener && !ours) (*listener)->leave_file();
            if (listener)
                accepted.stock.add(*std::move(listener), false);
            else
                taken = listener.error();
        } else {
            auto zone = shm::Zone::attach(std::move(fd));
            if (zone)
                accepted.stock.zones.push_back(std::make_shared<shm::Zone>(*std::move(zone)));
            else
                taken = zone.error();
        }
        if (!taken)
            log::warning(
                "the service manager has passed {}, which is neither a listening stream "
                "socket nor a zone: {}",
                name, taken.error().text());
    }
    return accepted;
}

std::map<std::string, std::vector<RawFd>> to_be_kept(const Cycle& cycle) {
    std::map<std::string, std::vector<RawFd>> kept;
    for (const Binding& binding : cycle.bindings()) {
        const std::size_t served = std::min(binding.served, binding.listeners.size());
        for (std::size_t slot = 0; slot < served; ++slot) {
            std::string name =
                binding.has_own(slot) ? name_of_slot(slot) : std::string{shared_name};
            kept[std::move(name)].push_back(binding.listeners[slot]->socket().get());
        }
    }
    for (const SharedZone& zone : cycle.zones())
        kept[std::string{shared_name}].push_back(zone->fd());
    return kept;
}

Kept identify(const std::map<std::string, std::vector<RawFd>>& fds) {
    Kept kept;
    for (const auto& [name, those] : fds)
        for (const RawFd fd : those) kept[name].push_back(identity(fd));
    return kept;
}

}  // namespace ringfort::cycle
