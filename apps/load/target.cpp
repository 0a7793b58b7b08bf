module;
#include <fmt/format.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
module load;

import ringfort;

namespace load {

Target find_target(std::string_view text) {
    if (const auto address = ringfort::Address::parse(text)) {
        if (address->is_unix() || address->port() != 0) return *address;
        return fmt::format("'{}' has port 0: which port is meant?", text);
    }
    const auto colon = text.rfind(':');
    if (colon == text.npos || colon == 0 || colon + 1 == text.size())
        return fmt::format("'{}' is not HOST:PORT (or unix:PATH)", text);
    const std::string host{text.substr(0, colon)};
    const std::string port{text.substr(colon + 1)};
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int outcome = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
    if (outcome != 0) return fmt::format("cannot find '{}': {}", text, ::gai_strerror(outcome));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned{found, ::freeaddrinfo};
    return ringfort::Address::from(found->ai_addr, found->ai_addrlen);
}

std::uint64_t raise_fd_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

}  // namespace load
