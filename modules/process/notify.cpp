module;
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module ringfort.process;

import ringfort.base;
import :variable;

namespace ringfort::process {
namespace {

/// So many descriptors one message carries (SCM_MAX_FD).
constexpr std::size_t fds_per_message = 253;

}  // namespace

ServiceManager ServiceManager::of_environment() {
    ServiceManager manager;
    const std::string path = take_variable("NOTIFY_SOCKET");
    const auto watchdog_us = number(take_variable("WATCHDOG_USEC"));
    const auto watched_pid = number(take_variable("WATCHDOG_PID"));
    const std::string kept = take_variable("FDSTORE");
    if (path.empty()) return manager;
    const auto address = Address::parse("unix:" + path);
    Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!address || !socket) {
        log::warning("the service manager at {} is not told anything: {}", path,
                     address ? Error::last("socket").text() : address.error().text());
        return manager;
    }
    manager.path_ = path;
    manager.keeps_ = number(kept).value_or(0) > 0 ? kept : "";
    manager.address_ = *address;
    manager.socket_ = std::move(socket);
    if (watchdog_us && *watchdog_us > 0 && watched_pid.value_or(::getpid()) == ::getpid()) {
        const auto half = std::chrono::microseconds{*watchdog_us / 2};
        manager.interval_ = std::max(std::chrono::floor<Milliseconds>(half), Milliseconds{1});
        manager.next_beat_ = now();
    }
    return manager;
}

void ServiceManager::ready(std::string_view status) {
    std::string line{status};  // a message's lines are variables: it must stay one
    std::ranges::replace_if(line, [](unsigned char c) { return c < ' '; }, ' ');
    tell({.text = fmt::format("READY=1\nSTATUS={}", line), .fds = {}});
}

void ServiceManager::reloading(Instant time) {
    const auto us = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch());
    tell({.text = fmt::format("RELOADING=1\nMONOTONIC_USEC={}", us.count()), .fds = {}});
}

void ServiceManager::stopping(std::string_view status) {
    tell({.text = fmt::format("STOPPING=1\nSTATUS={}", status), .fds = {}});
}

void ServiceManager::hand_over(pid_t successor, std::string_view status) {
    if (!socket_) return;
    // In one message, while this process is the main one: from another the manager may take none.
    // It counts as a sign of life, since those of the other were not heard until now.
    tell({.text = fmt::format("MAINPID={}\nREADY=1\nWATCHDOG=1\nSTATUS={}", successor, status),
          .fds = {}});
    if (unsent_.empty()) *this = {};
}

void ServiceManager::keep(std::string_view name, std::span<const RawFd> fds) {
    if (!keeps_descriptors()) return;
    while (!fds.empty()) {
        const auto some = fds.first(std::min(fds.size(), fds_per_message));
        fds = fds.subspan(some.size());
        // Not polled by the manager, which would drop a listener as soon as somebody hangs up.
        Message message{.text = fmt::format("FDSTORE=1\nFDNAME={}\nFDPOLL=0", name), .fds = {}};
        for (const RawFd fd : some) {
            auto copy = duplicate(fd);
            if (!copy)
                return log::warning("the service manager does not keep {}: {}", name,
                                    copy.error().text());
            message.fds.push_back(*std::move(copy));
        }
        tell(std::move(message));
    }
}

void ServiceManager::forget(std::string_view name) {
    if (keeps_descriptors())
        tell({.text = fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name), .fds = {}});
}

std::vector<std::string> ServiceManager::environment() const {
    if (!socket_) return {};
    std::vector<std::string> variables{"NOTIFY_SOCKET=" + path_};
    if (keeps_descriptors()) variables.push_back("FDSTORE=" + keeps_);
    if (interval_ > Milliseconds{0}) {
        const std::chrono::microseconds whole = 2 * interval_;
        variables.push_back(fmt::format("WATCHDOG_USEC={}", whole.count()));
    }
    return variables;
}

std::optional<Instant> ServiceManager::next_beat() const noexcept {
    if (unsent_.empty()) return next_beat_;
    return next_beat_ ? std::min(*next_beat_, retry_) : retry_;
}

void ServiceManager::beat(Instant time) noexcept {
    while (!unsent_.empty() && retry_ <= time) {
        if (send(unsent_.front()))
            unsent_.pop_front();
        else
            retry_ = time + limits::manager_retry_ms;
    }
    if (!next_beat_ || *next_beat_ > time) return;
    next_beat_ = time + interval_;
    (void)send(
        {.text = "WATCHDOG=1", .fds = {}});  // one that is lost is followed by another in time
}

void ServiceManager::tell(Message message) {
    if (!socket_ || (unsent_.empty() && send(message))) return;
    if (unsent_.size() == limits::manager_messages) unsent_.pop_front();
    if (unsent_.empty()) retry_ = now() + limits::manager_retry_ms;
    unsent_.push_back(std::move(message));
}

/// Returns false when there is no room now; what cannot be said at all counts as said.
bool ServiceManager::send(const Message& message) const noexcept {
    sockaddr_storage to{};
    std::memcpy(&to, address_.data(), address_.size());
    iovec part{.iov_base = const_cast<char*>(message.text.data()), .iov_len = message.text.size()};
    msghdr header{};
    header.msg_name = &to;
    header.msg_namelen = address_.size();
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(fds_per_message * sizeof(int))> control{};
    if (!message.fds.empty()) {
        const std::size_t bytes = message.fds.size() * sizeof(int);
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(bytes);
        cmsghdr* const rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(bytes);
        std::byte* at = reinterpret_cast<std::byte*>(CMSG_DATA(rights));
        for (const Fd& fd : message.fds) {
            const int raw = fd.get();
            std::memcpy(at, &raw, sizeof raw);
            at += sizeof raw;
        }
    }
    const ssize_t count = ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL);
    if (count >= 0) return true;
    // Too many descriptors on their way, or no memory, are no lasting conditions either.
    if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS || errno == ENOMEM)
        return false;
    log::debug("the service manager: {}", Error::last("sendmsg").text());
    return true;
}

}  // namespace ringfort::process
