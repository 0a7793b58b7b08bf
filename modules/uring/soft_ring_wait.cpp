module;
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring_readiness;

namespace ringfort::uring::soft {

namespace {

using Found = std::array<epoll_event, limits::soft_ring_events>;

int milliseconds(const timespec* limit) noexcept {
    if (limit == nullptr) return -1;
    const auto rounded = static_cast<std::int64_t>(limit->tv_nsec + 999'999) / 1'000'000;
    return static_cast<int>(std::min<std::int64_t>(
        std::min<std::int64_t>(limit->tv_sec, INT_MAX / 1000) * 1000 + rounded, INT_MAX));
}

}  // namespace

int Readiness::poll(const timespec* limit) noexcept {
    events_.clear();
    Found found;
    ++statistics.waits;
    int count = -1;
    if (!no_pwait2_) {
        count = ::epoll_pwait2(level_.get(), found.data(), static_cast<int>(found.size()), limit,
                               nullptr);
        // Filters older than the call (2020) answer EPERM.
        if (count < 0 && (errno == ENOSYS || errno == EPERM)) no_pwait2_ = true;
    }
    if (no_pwait2_)
        count = ::epoll_wait(level_.get(), found.data(), static_cast<int>(found.size()),
                             milliseconds(limit));
    if (count < 0) return -errno;
    collect(std::span{found}.first(static_cast<std::size_t>(count)), false);
    return static_cast<int>(events_.size());
}

void Readiness::collect(std::span<const epoll_event> found, bool edge) noexcept {
    for (const epoll_event& event : found) {
        const auto fd = static_cast<RawFd>(static_cast<std::uint32_t>(event.data.u64));
        const auto generation = static_cast<std::uint32_t>(event.data.u64 >> 32);
        if (!edge && generation == 0) {  // the edge-triggered instance has something
            Found edges;
            const int count =
                ::epoll_wait(edge_.get(), edges.data(), static_cast<int>(edges.size()), 0);
            if (count > 0) collect(std::span{edges}.first(static_cast<std::size_t>(count)), true);
            continue;
        }
        const Watch* watch = find(fd);
        const Registration* known = watch == nullptr ? nullptr
                                    : edge           ? &watch->edge
                                                     : &watch->level;
        if (known == nullptr || !known->present || known->generation != generation) {
            orphaned_ = true;
            continue;
        }
        events_.push_back({fd, event.events, edge});
    }
}

}  // namespace ringfort::uring::soft
