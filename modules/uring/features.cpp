module;
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.uring;

namespace ringfort::uring {

Features features_of(int major, int minor) noexcept {
    const std::pair version{major, minor};
    Features features;
    features.mode = version >= std::pair{6, 6}   ? RingMode::deferred_no_array
                    : version >= std::pair{6, 1} ? RingMode::deferred
                                                 : RingMode::cooperative;
    features.bounded_receives = version >= std::pair{6, 17};
    features.incremental_buffers = version >= std::pair{6, 12};
    features.minimum_waits = version >= std::pair{6, 12};
    features.instant_accepts = version >= std::pair{6, 10};
    features.futex = version >= std::pair{6, 7};
    features.zero_copy = version >= std::pair{6, 0};
    features.registered_ring = version >= std::pair{5, 18};
    return features;
}

Features common(const Features& one, const Features& other) noexcept {
    return {.mode = std::max(one.mode, other.mode),  // the best is the first
            .bounded_receives = one.bounded_receives && other.bounded_receives,
            .minimum_waits = one.minimum_waits && other.minimum_waits,
            .instant_accepts = one.instant_accepts && other.instant_accepts,
            .incremental_buffers = one.incremental_buffers && other.incremental_buffers,
            .futex = one.futex && other.futex,
            .zero_copy = one.zero_copy && other.zero_copy,
            .registered_ring = one.registered_ring && other.registered_ring};
}

Features features_of_environment() noexcept {
    const char* const value = std::getenv("RINGFORT_KERNEL");
    const std::string_view text = value == nullptr ? "" : value;
    const char* const end = text.data() + text.size();
    int major = 0;
    int minor = 0;
    const auto first = std::from_chars(text.data(), end, major);
    if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '.') return {};
    const auto second = std::from_chars(first.ptr + 1, end, minor);
    if (second.ec != std::errc{} || second.ptr != end) return {};
    return features_of(major, minor);
}

std::vector<std::string_view> consequences(const Features& features) {
    std::vector<std::string_view> lacks;
    if (features.mode == RingMode::deferred)
        lacks.emplace_back("one more memory access per submission than on Linux 6.6 or newer");
    if (features.mode == RingMode::cooperative)
        lacks.emplace_back(
            "completions interrupt system calls: more CPU per request than on Linux 6.1 or newer");
    if (!features.bounded_receives)
        lacks.emplace_back(
            "a burst on one connection takes up to 32 buffers, not 1 MiB: more memory under "
            "load than on Linux 6.17 or newer");
    if (!features.minimum_waits)
        lacks.emplace_back("a busy worker makes more system calls than on Linux 6.12 or newer");
    if (!features.instant_accepts)
        lacks.emplace_back(
            "who looks whether a connection waits has to wait a millisecond if there is none: "
            "workers drain later than on Linux 6.10 or newer");
    if (!features.incremental_buffers)
        lacks.emplace_back(
            "every receive takes a whole buffer: more memory under load than on Linux 6.12 or "
            "newer");
    if (!features.futex)
        lacks.emplace_back(
            "waiting for another process looks at shared memory from time to time: later, and for "
            "more CPU, than on Linux 6.7 or newer");
    if (!features.zero_copy)
        lacks.emplace_back(
            "what is to be sent without a copy is copied: more CPU for large pieces than on Linux "
            "6.0 or newer");
    if (!features.registered_ring)
        lacks.emplace_back(
            "the ring is not registered, so that each system call looks its descriptor up, for a "
            "little more CPU");
    return lacks;
}

}  // namespace ringfort::uring
