module;
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <string_view>
#include <utility>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

void StallDetector::stalled(const Label* label, std::size_t count, Instant begin,
                            Instant end) noexcept {
    exact_until_ = end + limits::stall_exact_ms;
    const bool first_exact = count == 1 && !told_exactly_;
    if (end < quiet_until_ && !first_exact) {
        ++suppressed_;
        return;
    }
    quiet_until_ = end + limits::stall_report_ms;
    told_exactly_ = count == 1;
    const std::string_view name = label != nullptr ? label->name : "no service";
    const auto ms = std::chrono::duration_cast<Milliseconds>(end - begin).count();
    log::warning(
        "{} kept all other tasks waiting for {} ms in {} resumption{}; {} more such since "
        "the last of these lines",
        name, ms, count, count == 1 ? "" : "s", std::exchange(suppressed_, 0));
}

}  // namespace ringfort::coro
