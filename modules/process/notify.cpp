module;
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <compare>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.process;

import ringfort.base;

namespace ringfort::process {
namespace {

/// Takes a variable out of the environment.
std::string take(const char* name) {
    const char* const value = std::getenv(name);
    std::string text = value == nullptr ? "" : value;
    (void)::unsetenv(name);
    return text;
}

std::optional<std::int64_t> number(const std::string& text) noexcept {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

}  // namespace

ServiceManager ServiceManager::of_environment() {
    ServiceManager manager;
    const std::string path = take("NOTIFY_SOCKET");
    const auto watchdog_us = number(take("WATCHDOG_USEC"));
    const auto watched_pid = number(take("WATCHDOG_PID"));
    if (path.empty()) return manager;
    const auto address = Address::parse("unix:" + path);
    Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!address || !socket) {
        log::warning("the service manager at {} is not told anything: {}", path,
                     address ? Error::last("socket").text() : address.error().text());
        return manager;
    }
    manager.path_ = path;
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
    tell(fmt::format("READY=1\nSTATUS={}", line));
}

void ServiceManager::reloading(Instant time) {
    const auto us = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch());
    tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", us.count()));
}

void ServiceManager::stopping() {
    tell("STOPPING=1");
}

void ServiceManager::hand_over(pid_t successor, std::string_view status) {
    if (!socket_) return;
    // In one message, while this process is the main one: from another the manager may take none.
    tell(fmt::format("MAINPID={}\nREADY=1\nSTATUS={}", successor, status));
    if (unsent_.empty()) *this = {};
}

std::vector<std::string> ServiceManager::environment() const {
    if (!socket_) return {};
    std::vector<std::string> variables{"NOTIFY_SOCKET=" + path_};
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
    (void)send("WATCHDOG=1");  // one that is lost is followed by another in time
}

void ServiceManager::tell(std::string message) {
    if (!socket_ || (unsent_.empty() && send(message))) return;
    if (unsent_.size() == limits::manager_messages) unsent_.pop_front();
    if (unsent_.empty()) retry_ = now() + limits::manager_retry_ms;
    unsent_.push_back(std::move(message));
}

/// Returns false when there is no room now; what cannot be said at all counts as said.
bool ServiceManager::send(const std::string& message) const noexcept {
    const ssize_t count = ::sendto(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL,
                                   address_.data(), address_.size());
    return count >= 0 || (errno != EAGAIN && errno != ENOBUFS);
}

}  // namespace ringfort::process
