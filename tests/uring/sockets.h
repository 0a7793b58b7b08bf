/// Connected socket pairs for tests.
#pragma once
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace testing {

inline std::pair<ringfort::Fd, ringfort::Fd> socket_pair() {
    int ends[2] = {-1, -1};
    ringfort::ensure(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    return {ringfort::Fd{ends[0]}, ringfort::Fd{ends[1]}};
}

/// Has this process open so many files, if it may; returns whether it does.
inline bool allow_files(rlim_t count) {
    rlimit limit{};
    ringfort::ensure(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    if (limit.rlim_cur >= count) return true;
    limit.rlim_cur = count;
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

inline void put(const ringfort::Fd& fd, std::string_view text) {
    ringfort::ensure(
        ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write");
}

/// Reads what is there, at most 1 MiB; the end is not.
inline std::string read_now(const ringfort::Fd& fd) {
    std::string text(std::size_t{1} << 20, '\0');
    const ssize_t count = ::recv(fd.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
}

}  // namespace testing
