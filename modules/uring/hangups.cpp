module;
#include <poll.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {

constexpr std::size_t at_once = 64;  ///< asked for by one call

}  // namespace

void Hangups::watch(Receiver& receiver) noexcept {
    lists_[filling_].push_back(receiver);
    if (!armed()) scheduler_.timers().arm(*this, scheduler_.after(limits::hangup_check_ms));
}

void Hangups::look() noexcept {
    if (lists_[1 - filling_].empty()) filling_ = 1 - filling_;
    coro::List<Multishot>& list = lists_[1 - filling_];
    std::array<Receiver*, at_once> quiet{};
    std::size_t count = 0;
    for (std::uint32_t seen = 0; seen < limits::hangups_checked && !list.empty(); ++seen) {
        auto& receiver = static_cast<Receiver&>(*list.pop_front());
        if (receiver.watch_ == Receiver::Watch::fresh) {
            receiver.watch_ = Receiver::Watch::stale;
            lists_[filling_].push_back(receiver);
            continue;
        }
        receiver.watch_ = Receiver::Watch::none;
        quiet[count++] = &receiver;
        if (count == at_once) check({quiet.data(), std::exchange(count, 0)});
    }
    check({quiet.data(), count});
    if (!list.empty())
        scheduler_.timers().arm(*this, scheduler_.after(limits::hangup_pause_ms));
    else if (!lists_[filling_].empty())
        scheduler_.timers().arm(*this, scheduler_.after(limits::hangup_check_ms));
}

/// Has the kernel say again what there is of those whose peer is gone. Of some it has said so
/// meanwhile: they lose nothing by it.
void Hangups::check(std::span<Receiver* const> quiet) noexcept {
    if (quiet.empty()) return;
    std::array<pollfd, at_once> polled{};
    for (std::size_t i = 0; i < quiet.size(); ++i)
        polled[i] = {.fd = quiet[i]->socket_, .events = POLLRDHUP, .revents = 0};
    const bool failed = ::poll(polled.data(), quiet.size(), 0) < 0;  // then each may be one
    for (std::size_t i = 0; i < quiet.size(); ++i)
        if (failed || polled[i].revents != 0) (void)quiet[i]->stop();
}

}  // namespace ringfort::uring
