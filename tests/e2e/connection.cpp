#include "connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "deadline.h"
#include "endpoint.h"
#include "owned_fd.h"
#include "pattern.h"

namespace e2e {
namespace {

constexpr std::size_t piece_bytes = 64 * 1024;

[[noreturn]] void fail(std::string_view step, int error) {
    const Failure failure = error == ECONNREFUSED || error == ENOENT ? Failure::refused
                            : error == ECONNRESET || error == EPIPE  ? Failure::reset
                                                                     : Failure::other;
    throw NetError{failure, std::string{step} + ": " + std::generic_category().message(error)};
}

void wait_for(int fd, short events, Deadline deadline, const char* step) {
    pollfd entry{fd, events, 0};
    int ready = 0;
    do {
        ready = ::poll(&entry, 1, deadline.remaining_ms());
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) fail("poll", errno);
    if (ready == 0) throw NetError{Failure::timed_out, step};
}

}  // namespace

std::string_view name(Failure failure) noexcept {
    constexpr std::string_view names[] = {"refused",   "reset",      "ended",
                                          "timed out", "wrong data", "other"};
    return names[static_cast<std::size_t>(failure)];
}

Connection::Connection(OwnedFd fd) : fd_{std::move(fd)} {
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK) < 0) fail("fcntl", errno);
}

Connection Connection::to(const Endpoint& endpoint, Deadline deadline) {
    Connection result{OwnedFd{::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)}};
    if (endpoint.family() != AF_UNIX) {
        const int on = 1;
        ::setsockopt(result.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    while (::connect(result.fd(), endpoint.data(), endpoint.size()) != 0) {
        if (errno == EAGAIN && !deadline.expired()) {  // a unix socket's backlog is full: no event
            std::this_thread::sleep_for(milliseconds{1});
            continue;
        }
        if (errno != EINPROGRESS) fail("connect " + endpoint.text(), errno);
        wait_for(result.fd(), POLLOUT, deadline, "connect");
        int error = 0;
        socklen_t size = sizeof error;
        ::getsockopt(result.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) fail("connect " + endpoint.text(), error);
        break;
    }
    return result;
}

std::size_t Connection::receive_some(char* into, std::size_t size, Deadline deadline) {
    while (true) {
        const ssize_t got = ::recv(fd(), into, size, 0);
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EAGAIN && errno != EINTR) fail("receive", errno);
        wait_for(fd(), POLLIN, deadline, "receive");
    }
}

std::size_t Connection::send_some(const char* from, std::size_t size, Deadline deadline) {
    while (true) {
        const ssize_t sent = ::send(fd(), from, size, MSG_NOSIGNAL);
        if (sent >= 0) return static_cast<std::size_t>(sent);
        if (errno != EAGAIN && errno != EINTR) fail("send", errno);
        wait_for(fd(), POLLOUT, deadline, "send");
    }
}

void Connection::send(std::string_view bytes, Deadline deadline) {
    while (!bytes.empty()) bytes.remove_prefix(send_some(bytes.data(), bytes.size(), deadline));
}

void Connection::send(Flow flow, Deadline deadline, std::atomic<std::uint64_t>* progress) {
    const Pattern pattern{flow.seed};
    std::vector<char> piece(piece_bytes);
    for (std::uint64_t done = 0; done < flow.bytes;) {
        const auto size = std::min<std::uint64_t>(piece.size(), flow.bytes - done);
        pattern.fill(done, std::span{piece}.first(size));
        for (std::size_t at = 0; at < size;) {
            const std::size_t sent = send_some(piece.data() + at, size - at, deadline);
            at += sent;
            if (progress != nullptr) *progress += sent;
        }
        done += size;
    }
}

std::string Connection::receive(std::size_t size, Deadline deadline) {
    std::string result(size, '\0');
    for (std::size_t done = 0; done < size;) {
        const std::size_t got = receive_some(result.data() + done, size - done, deadline);
        if (got == 0)
            throw NetError{Failure::ended, "after " + std::to_string(done) + " of " +
                                               std::to_string(size) + " bytes"};
        done += got;
    }
    return result;
}

void Connection::receive(Flow flow, Deadline deadline) {
    const Pattern pattern{flow.seed};
    std::vector<char> piece(piece_bytes);
    for (std::uint64_t done = 0; done < flow.bytes;) {
        const auto size = std::min<std::uint64_t>(piece.size(), flow.bytes - done);
        const std::size_t got = receive_some(piece.data(), size, deadline);
        if (got == 0)
            throw NetError{Failure::ended, "after " + std::to_string(done) + " of " +
                                               std::to_string(flow.bytes) + " bytes"};
        if (const auto wrong = pattern.first_difference(done, std::span{piece}.first(got)))
            throw NetError{Failure::wrong_data, "at byte " + std::to_string(done + *wrong)};
        done += got;
    }
}

std::string Connection::receive_to_end(Deadline deadline) {
    std::string result;
    std::vector<char> piece(piece_bytes);
    while (const std::size_t got = receive_some(piece.data(), piece.size(), deadline))
        result.append(piece.data(), got);
    return result;
}

void Connection::expect_end(Deadline deadline) {
    char byte = 0;
    if (receive_some(&byte, 1, deadline) != 0)
        throw NetError{Failure::wrong_data, "a byte where the end should be"};
}

Ending Connection::wait_gone(Deadline deadline) {
    try {
        static_cast<void>(receive_to_end(deadline));
        return Ending::eof;
    } catch (const NetError& error) {
        if (error.failure != Failure::reset) throw;
        return Ending::reset;
    }
}

void Connection::echo(std::string_view text, Deadline deadline) {
    send(text, deadline);
    if (receive(text.size(), deadline) != text)
        throw NetError{Failure::wrong_data, "the echo differs"};
}

bool Connection::silent_for(milliseconds time) {
    pollfd entry{fd(), POLLIN, 0};
    return ::poll(&entry, 1, static_cast<int>(time.count())) == 0;
}

void Connection::shutdown_write() {
    if (::shutdown(fd(), SHUT_WR) != 0) fail("shutdown", errno);
}

void Connection::reset() {
    const linger at_once{1, 0};
    ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
}

bool refuses(const Endpoint& endpoint) {
    try {
        static_cast<void>(Connection::to(endpoint));
        return false;
    } catch (const NetError& error) {
        return error.failure == Failure::refused;
    }
}

void exchange(Connection& connection, Flow out, Flow in, Deadline deadline) {
    std::exception_ptr failure;
    std::jthread sender{[&] {
        try {
            connection.send(out, deadline);
            connection.shutdown_write();
        } catch (...) {
            failure = std::current_exception();
        }
    }};
    try {
        connection.receive(in, deadline);
        connection.expect_end(deadline);
    } catch (...) {
        ::shutdown(connection.fd(), SHUT_RDWR);  // the sender should not wait out the deadline
        sender.join();
        throw;
    }
    sender.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace e2e
