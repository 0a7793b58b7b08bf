#include "upstream.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "owned_fd.h"

namespace e2e {

Upstream::Upstream(Handler handler, const Endpoint& at)
    : handler_{std::move(handler)},
      listener_{listen_on(at)},
      endpoint_{Endpoint::of_socket(listener_.get())},
      stop_{::eventfd(0, EFD_CLOEXEC)},
      acceptor_{[this] { accept_until_told(); }} {}

Upstream::~Upstream() {
    ::eventfd_write(stop_.get(), 1);
    acceptor_.join();
    handlers_.clear();  // joins, while what they write to still exists
}

void Upstream::accept_until_told() {
    while (true) {
        pollfd entries[] = {{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
        if (::poll(entries, 2, -1) < 0 && errno != EINTR) return;
        if (entries[0].revents != 0) return;
        OwnedFd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        if (!fd) continue;
        const std::lock_guard lock{mutex_};
        ++accepted_;
        handlers_.emplace_back(
            [this, owned = std::move(fd)]() mutable { serve(std::move(owned)); });
    }
}

void Upstream::serve(OwnedFd fd) {
    try {
        Connection connection{std::move(fd)};
        handler_(connection);
    } catch (const std::exception& error) {
        const std::lock_guard lock{mutex_};
        (errors_ += error.what()) += '\n';
    }
}

std::size_t Upstream::accepted() const {
    const std::lock_guard lock{mutex_};
    return accepted_;
}

std::string Upstream::errors() {
    std::list<std::jthread> started;
    {
        const std::lock_guard lock{mutex_};
        started.swap(handlers_);
    }
    started.clear();  // joins
    const std::lock_guard lock{mutex_};
    return errors_;
}

void echo_back(Connection& connection) {
    char buffer[16 * 1024];
    const Deadline deadline = later();
    while (true) {
        pollfd entry{connection.fd(), POLLIN, 0};
        if (::poll(&entry, 1, deadline.remaining_ms()) == 0)
            throw NetError{Failure::timed_out, "echo_back"};
        const ssize_t got = ::recv(connection.fd(), buffer, sizeof buffer, 0);
        if (got < 0) throw std::system_error{errno, std::generic_category(), "echo_back"};
        if (got == 0) return;
        connection.send({buffer, static_cast<std::size_t>(got)}, deadline);
    }
}

}  // namespace e2e
