// bench_zero_copy: from which size on a send without a copy costs less CPU than one that copies.
// usage: bench_zero_copy [ADDRESS]     ADDRESS: of a server that reads and drops, such as
//                                      `nc -lk 9000 >/dev/null`; without one, over loopback to
//                                      a thread of its own
#include <fmt/format.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace {

namespace rf = ringfort;

constexpr std::size_t bytes_per_slice = std::size_t{64} << 20;
constexpr std::size_t pairs = 20;
constexpr std::size_t sizes[] = {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20};

void pin(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    (void)::sched_setaffinity(0, sizeof cores, &cores);  // a machine with one core measures as well
}

/// Reads until the end; nothing is copied (MSG_TRUNC, tcp(7)).
void drop_all(rf::Fd socket) {
    pin(1);
    while (::recv(socket.get(), nullptr, std::size_t{1} << 20, MSG_TRUNC) > 0) {
    }
}

rf::Fd connected(const rf::Address& address) {
    rf::Fd socket{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (::connect(socket.get(), address.data(), address.size()) != 0) return {};
    return socket;
}

/// A connection over loopback, read by a thread.
rf::Fd to_own_thread(std::jthread& reader) {
    const rf::Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof any;
    auto* const address = reinterpret_cast<sockaddr*>(&any);
    if (::bind(listener.get(), address, size) != 0 || ::listen(listener.get(), 1) != 0) return {};
    ::getsockname(listener.get(), address, &size);
    rf::Fd near{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (::connect(near.get(), address, size) != 0) return {};
    reader = std::jthread{drop_all, rf::Fd{::accept(listener.get(), nullptr, nullptr)}};
    return near;
}

double cpu_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

enum class Way : std::uint8_t { copy, no_copy };

/// Sends a slice in pieces of one size; returns its CPU time.
rf::coro::Task<std::optional<double>> send_slice(rf::uring::Loop& loop, rf::RawFd socket, Way way,
                                                 std::span<const std::byte> piece) {
    const double begin = cpu_seconds();
    for (std::size_t sent = 0; sent < bytes_per_slice; sent += piece.size()) {
        const auto outcome = way == Way::copy
                                 ? co_await loop.send_all(socket, piece)
                                 : co_await rf::uring::ZeroCopySend{loop, socket, piece};
        if (!outcome) {
            fmt::print(stderr, "bench_zero_copy: {}\n", outcome.error().text());
            co_return std::nullopt;
        }
    }
    co_return cpu_seconds() - begin;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

bool measure(rf::uring::Loop& loop, rf::RawFd socket, std::size_t size) {
    const std::vector<std::byte> piece(size);
    std::vector<double> copies;
    std::vector<double> ratios;
    for (std::size_t pair = 0; pair <= pairs; ++pair) {
        const auto copy = loop.run(send_slice(loop, socket, Way::copy, piece));
        const auto none = loop.run(send_slice(loop, socket, Way::no_copy, piece));
        if (!copy || !none) return false;
        if (pair == 0) continue;  // pays for memory
        copies.push_back(*copy);
        ratios.push_back(*none / *copy);
    }
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    constexpr double per_gib = static_cast<double>(std::size_t{1} << 30) / bytes_per_slice;
    fmt::print("| {} | {:.3f} | {:.2f} ({:.2f}..{:.2f}) |\n", size, median(copies) * per_gib,
               median(ratios), *least, *most);
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    std::jthread reader;
    rf::Fd socket;
    if (argc == 2) {
        const auto address = rf::Address::parse(argv[1]);
        if (address) socket = connected(*address);
    } else {
        socket = to_own_thread(reader);
    }
    if (argc > 2 || !socket) {
        fmt::print(stderr, "usage: bench_zero_copy [ADDRESS]     of a server that reads\n");
        return 2;
    }
    pin(0);
    auto loop = rf::uring::Loop::open();
    if (!loop) {
        fmt::print(stderr, "bench_zero_copy: {}\n", loop.error().text());
        return 1;
    }
    if (!(*loop)->features().zero_copy) {
        fmt::print("not measured: this driver has no send without a copy\n");
        return 0;
    }
    fmt::print(
        "| bytes of a send | copying, CPU s/GiB | without a copy / copying, {} pairs |\n"
        "|---|---|---|\n",
        pairs);
    for (const std::size_t size : sizes)
        if (!measure(**loop, socket.get(), size)) return 1;
    socket.close();
    return 0;
}
