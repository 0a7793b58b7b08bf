module;
#include <fmt/format.h>
#include <poll.h>
#include <ringfort/try.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.cycle;

namespace ringfort::master {
namespace {

constexpr std::string_view ok = "ok\n";
constexpr std::string_view failed = "failed\n";

pid_t process_of(const Fd& socket) noexcept {
    ucred peer{};
    socklen_t size = sizeof peer;
    return ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

/// Bounds a blocking step on a socket.
void limit(const Fd& socket, int option) noexcept {
    constexpr auto s = std::chrono::duration_cast<std::chrono::seconds>(limits::control_timeout_ms);
    const timeval timeout{.tv_sec = s.count(), .tv_usec = 0};
    (void)::setsockopt(socket.get(), SOL_SOCKET, option, &timeout, sizeof timeout);
}

bool try_again() noexcept {
    return errno == EAGAIN || errno == EINTR;
}

}  // namespace

void ControlServer::listen(std::shared_ptr<cycle::Listener> door) noexcept {
    door_ = std::move(door);
}

std::string ControlServer::path() const {
    return door_ && door_->reachable() ? door_->bound().path() : std::string{};
}

void ControlServer::add_to(std::vector<pollfd>& polled, Instant time) const {
    const bool open = door_ && clients_.size() < limits::control_clients &&
                      (!closed_until_ || *closed_until_ <= time);
    polled.push_back({.fd = open ? door_->socket().get() : -1, .events = POLLIN, .revents = 0});
    for (const Client& client : clients_) {
        const short events = client.phase == Phase::asking     ? POLLIN
                             : client.phase == Phase::answered ? POLLOUT
                                                               : 0;
        polled.push_back({.fd = client.socket.get(), .events = events, .revents = 0});
    }
}

std::optional<Instant> ControlServer::next_deadline() const {
    std::optional<Instant> next = closed_until_;
    for (const Client& client : clients_)
        if (client.phase != Phase::waiting && (!next || client.due < *next)) next = client.due;
    return next;
}

std::vector<ControlRequest> ControlServer::serve(std::span<const pollfd> polled, Instant time) {
    std::vector<ControlRequest> requests;
    for (std::size_t i = 0; i < clients_.size(); ++i) {
        Client& client = clients_[i];
        const short events = polled[1 + i].revents;
        if (client.phase == Phase::asking && events != 0)
            if (auto request = read(client, time)) requests.push_back(*std::move(request));
        if (client.phase == Phase::answered) write(client);
        if ((events & (POLLHUP | POLLERR)) != 0) client.gone = true;
        if (client.phase != Phase::waiting && client.due <= time) client.gone = true;
    }
    std::erase_if(clients_, [](const Client& client) { return client.gone; });
    if (closed_until_ && *closed_until_ <= time) closed_until_.reset();
    if (polled[0].revents != 0) accept(time);
    return requests;
}

void ControlServer::accept(Instant time) {
    while (door_ && clients_.size() < limits::control_clients) {
        Fd socket{::accept4(door_->socket().get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (!socket && errno == EINTR) continue;
        if (!socket) {
            if (errno != EAGAIN) closed_until_ = time + limits::accept_backoff_ms;
            return;
        }
        clients_.push_back({.number = ++last_number_,
                            .socket = std::move(socket),
                            .due = time + limits::control_timeout_ms,
                            .text = {}});
    }
}

/// Reads on; returns the order when its line is complete, by a newline or by the end.
std::optional<ControlRequest> ControlServer::read(Client& client, Instant time) {
    std::array<char, 256> bytes{};
    const ssize_t count = ::recv(client.socket.get(), bytes.data(), bytes.size(), 0);
    if (count < 0) {
        client.gone = !try_again();
        return {};
    }
    const std::string_view part{bytes.data(), static_cast<std::size_t>(count)};
    const std::size_t newline = part.find('\n');
    client.text += part.substr(0, newline);
    const bool complete = newline != part.npos || (count == 0 && !client.text.empty());
    client.phase = Phase::waiting;
    if (client.text.size() > limits::max_control_line_bytes) {
        answer(
            client.number,
            {.success = false,
             .text = fmt::format("an order has at most {} bytes", limits::max_control_line_bytes)},
            time);
        return {};
    }
    if (complete)
        return ControlRequest{client.number, process_of(client.socket),
                              std::exchange(client.text, {})};
    client.phase = Phase::asking;
    client.gone = count == 0;
    return {};
}

void ControlServer::answer(std::uint64_t client, const ControlAnswer& answer, Instant time) {
    const auto found = std::ranges::find(clients_, client, &Client::number);
    if (found == clients_.end()) return;
    found->phase = Phase::answered;
    found->due = time + limits::control_timeout_ms;
    found->text = answer.text;
    if (!found->text.empty() && found->text.back() != '\n') found->text += '\n';
    found->text += answer.success ? ok : failed;
}

void ControlServer::write(Client& client) noexcept {
    const std::string_view left = std::string_view{client.text}.substr(client.sent);
    const ssize_t count =
        ::send(client.socket.get(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) client.sent += static_cast<std::size_t>(count);
    client.gone = client.sent == client.text.size() || (count < 0 && !try_again());
}

void ControlServer::end() noexcept {
    for (Client& client : clients_)
        if (client.phase == Phase::answered) write(client);
    clients_.clear();
    door_.reset();
}

Result<ControlAnswer> ask(std::string_view path, std::string_view order) {
    RF_LET(const Address address, Address::parse("unix:" + std::string{path}));
    const Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) return Error::last("socket");
    limit(socket, SO_SNDTIMEO);  // of connecting, too
    if (order == "status" || order == "zones" || order == "ready") limit(socket, SO_RCVTIMEO);
    if (::connect(socket.get(), address.data(), address.size()) != 0) return Error::last("connect");
    const std::string line = std::string{order} + '\n';
    if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0)
        return Error::last("send the order");
    std::string text;
    std::array<char, 4'096> bytes{};
    for (;;) {
        const ssize_t count = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
        if (count < 0 && errno == EINTR) continue;
        // What it did not read of the order makes the end of its answer a reset.
        if (count == 0 || (count < 0 && errno == ECONNRESET && !text.empty())) break;
        if (count < 0 && errno == EAGAIN) return Error{"receive the answer", ETIMEDOUT};
        if (count < 0) return Error::last("receive the answer");
        text.append(bytes.data(), static_cast<std::size_t>(count));
    }
    for (const std::string_view last : {ok, failed}) {
        if (!text.ends_with(last)) continue;
        text.resize(text.size() - last.size());
        return ControlAnswer{.success = last == ok, .text = std::move(text)};
    }
    return Error{"receive the answer", ECONNRESET};
}

}  // namespace ringfort::master
