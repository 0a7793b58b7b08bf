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
    constexpr std::int64_t foreign = -2;
    if (name == shared_name) return -1;
    if (!name.starts_with(shared_name) || name.size() < shared_name.size() + 2) return foreign;
    name.remove_prefix(shared_name.size());
    std::uint32_t slot = 0;
    const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), slot);
    const bool whole = error == std::errc{} && end == name.data() + name.size();
    return name.front() == '-' && whole ? std::int64_t{slot} : foreign;
}

ino_t identity(RawFd fd) noexcept {
    struct stat status{};
    return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

/// What there is already; null for a zone.
std::map<ino_t, std::shared_ptr<Listener>> identities(const Stock& stock) {
    std::map<ino_t, std::shared_ptr<Listener>> known;
    for (const Group& group : stock.groups)
        for (const auto& listener : group.listeners)
            known.emplace(identity(listener->socket().get()), listener);
    for (const SharedZone& zone : stock.zones) known.emplace(identity(zone->fd()), nullptr);
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
    const bool datagrams = type == SOCK_DGRAM;
    if (!datagrams && (type != SOCK_STREAM || listens == 0)) return Error{step, EINVAL};
    RF_LET(const Address bound, Address::of_socket(socket.get()));
    if (datagrams && bound.port() == 0) return Error{step, EINVAL};
    const int flags = ::fcntl(socket.get(), F_GETFL);
    if (::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return Error::last("fcntl");
    const int on = 1;
    if (!bound.is_unix() && !datagrams &&
        ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        return Error::last("setsockopt(TCP_NODELAY)");
    return Listener::adopt(std::move(socket), bound);
}

}  // namespace

Passed accept_passed(std::vector<process::PassedFd> passed, const Stock& known) {
    Passed accepted;
    auto seen = identities(known);
    std::ranges::sort(passed, {}, [](const auto& one) { return place_of(one.name); });
    for (auto& [name, fd] : passed) {
        const bool ours = place_of(name) >= -1;
        const ino_t inode = identity(fd.get());
        if (ours) accepted.kept[name].push_back(inode);
        const auto [there, fresh] = seen.emplace(inode, nullptr);
        if (!fresh) {  // an orphan does not know whose the file is
            if (there->second && !ours) there->second->leave_file();
            continue;
        }
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
                "socket, nor a bound one of UDP, nor a zone: {}",
                name, taken.error().text());
    }
    return accepted;
}

std::vector<std::shared_ptr<Listener>> Passed::listeners() const {
    std::vector<std::shared_ptr<Listener>> all;
    for (const Group& group : stock.groups)
        all.insert(all.end(), group.listeners.begin(), group.listeners.end());
    return all;
}

void use_passed(const std::vector<std::shared_ptr<Listener>>& passed, const Cycle& cycle) {
    for (const auto& listener : passed) {
        listener->own();
        const bool used = std::ranges::any_of(cycle.bindings(), [&](const Binding& binding) {
            return std::ranges::find(binding.listeners, listener) != binding.listeners.end();
        });
        if (!used)
            log::warning("the service manager has passed {}, where no listener is configured",
                         listener->text());
    }
}

std::map<std::string, std::vector<RawFd>> to_be_kept(const Cycle& cycle) {
    std::map<std::string, std::vector<RawFd>> kept;
    for (const Binding& binding : cycle.bindings()) {
        const std::size_t served = std::min(binding.served, binding.listeners.size());
        for (std::size_t slot = 0; slot < served; ++slot) {
            if (binding.listeners[slot]->foreign()) continue;  // the manager has it anyway
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
