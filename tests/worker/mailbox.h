/// A socket of UDP of a worker, and who sends there. Include it after the imports and `hired.h`.
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>

namespace testing {

/// The master's socket: the test keeps it, the worker gets a copy.
struct Mailbox {
    ringfort::Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ringfort::Address address;
    explicit Mailbox(const char* at = "127.0.0.1:0") {
        const auto any = ringfort::Address::parse(at).value();
        const int on = 1;
        ringfort::ensure(::setsockopt(socket.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0,
                         "");
        ringfort::ensure(::bind(socket.get(), any.data(), any.size()) == 0, "bind");
        address = ringfort::Address::of_socket(socket.get()).value();
    }
    void send_to(const ringfort::Address& to, std::string_view text) const {
        REQUIRE(::sendto(socket.get(), text.data(), text.size(), 0, to.data(), to.size()) ==
                static_cast<ssize_t>(text.size()));
    }
    /// Waits until the worker has received all that was sent here; false when it does not.
    [[nodiscard]] bool is_emptied() const {
        const ringfort::Instant end = ringfort::now() + ringfort::Milliseconds{3'000};
        while (readable(socket.get(), 0))
            if (ringfort::now() > end || ::usleep(1'000) != 0) return false;
        return true;
    }
};

class Sender {
public:
    explicit Sender(const ringfort::Address& to) {
        const timeval limit{.tv_sec = deadline_seconds, .tv_usec = 0};
        (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        const int room = 8 << 20;
        (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        REQUIRE(::connect(socket_.get(), to.data(), to.size()) == 0);
    }
    void send(std::string_view text) {
        REQUIRE(::send(socket_.get(), text.data(), text.size(), 0) ==
                static_cast<ssize_t>(text.size()));
    }
    /// Receives a datagram; "(nothing)" when none comes.
    [[nodiscard]] std::string receive() {
        std::string got(2'000, '\0');
        const auto size = ::recv(socket_.get(), got.data(), got.size(), 0);
        if (size < 0) return "(nothing)";
        got.resize(static_cast<std::size_t>(size));
        return got;
    }
    [[nodiscard]] bool has_answer() const { return readable(socket_.get(), 0); }
    [[nodiscard]] std::string ask(std::string_view text) {
        send(text);
        return receive();
    }

private:
    ringfort::Fd socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

}  // namespace testing
