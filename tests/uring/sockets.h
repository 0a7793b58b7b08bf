/// Connected socket pairs for tests.
#pragma once
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
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

/// Reads what is there; does not tell an end from nothing. In small pieces, because a sanitizer
/// poisons the whole buffer at each call.
inline std::string read_now(const ringfort::Fd& fd) {
    std::string text;
    std::array<char, 4096> piece;
    ssize_t count = 0;
    while ((count = ::recv(fd.get(), piece.data(), piece.size(), MSG_DONTWAIT)) > 0)
        text.append(piece.data(), static_cast<std::size_t>(count));
    return text;
}

}  // namespace testing
