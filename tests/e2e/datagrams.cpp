#include "datagrams.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "deadline.h"
#include "endpoint.h"
#include "owned_fd.h"

namespace e2e {
namespace {

constexpr std::size_t window = 8;  ///< questions of a socket that wait for their answers

[[noreturn]] void fail(const char* what) {
    throw std::system_error{errno, std::generic_category(), what};
}

}  // namespace

DatagramClient::DatagramClient(const Endpoint& endpoint)
    : socket_{::socket(endpoint.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)} {
    const int room = 4 << 20;
    (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (::connect(socket_.get(), endpoint.data(), endpoint.size()) != 0) fail("connect");
}

void DatagramClient::send(std::string_view text) const {
    if (::send(socket_.get(), text.data(), text.size(), 0) < 0) fail("send");
}

std::string DatagramClient::receive(Deadline deadline) const {
    pollfd polled{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&polled, 1, deadline.remaining_ms()) <= 0) return "(nothing)";
    std::string text(65'536, '\0');
    const auto size = ::recv(socket_.get(), text.data(), text.size(), MSG_DONTWAIT);
    if (size < 0) return "(" + std::generic_category().message(errno) + ")";
    text.resize(static_cast<std::size_t>(size));
    return text;
}

DatagramLoad::DatagramLoad(const Endpoint& endpoint, int sockets) {
    for (int i = 0; i < sockets; ++i)
        threads_.emplace_back(
            [this, endpoint](const std::stop_token& token) { run(token, endpoint); });
}

std::uint64_t DatagramLoad::answered() const {
    const std::lock_guard lock{mutex_};
    return answered_;
}

bool DatagramLoad::wait_for_more(std::uint64_t more, Deadline deadline) const {
    const std::uint64_t wanted = answered() + more;
    return eventually(deadline, [&] { return answered() >= wanted; });
}

std::uint64_t DatagramLoad::stop() {
    for (std::jthread& thread : threads_) thread.request_stop();
    threads_.clear();
    return lost_;
}

void DatagramLoad::run(const std::stop_token& token, const Endpoint& endpoint) {
    const DatagramClient client{endpoint};
    std::set<std::string> waiting;
    for (std::uint64_t number = 0; !token.stop_requested() || !waiting.empty();) {
        while (!token.stop_requested() && waiting.size() < window) {
            const std::string question = std::to_string(number++);
            client.send(question);
            waiting.insert(question);
        }
        const bool right =
            waiting.erase(client.receive(Deadline::after(milliseconds{10'000}))) == 1;
        const std::lock_guard lock{mutex_};
        if (right) {
            ++answered_;
            continue;
        }
        lost_ += waiting.size();  // none of them has come
        waiting.clear();
    }
}

}  // namespace e2e
