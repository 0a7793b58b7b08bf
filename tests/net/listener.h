/// A listening socket on a port that the kernel picks.
#pragma once
#include <sys/socket.h>

namespace testing {

struct Listener {
    ringfort::Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ringfort::Address address;

    explicit Listener(int backlog = 64) {
        const auto any = ringfort::Address::parse("127.0.0.1:0").value();
        ringfort::ensure(::bind(socket.get(), any.data(), any.size()) == 0, "bind");
        ringfort::ensure(::listen(socket.get(), backlog) == 0, "listen");
        address = ringfort::Address::of_socket(socket.get()).value();
    }
};

}  // namespace testing
