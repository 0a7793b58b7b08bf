export module ringfort.uring:hangups;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :multishot;
import :receiver;

export namespace ringfort::uring {

/// Finds ends of streams that the kernel does not tell of.
///
/// A multishot receive that takes the last bytes of a socket waits for the next wake-up, and the
/// one for the end or the reset may have come with the one for the bytes. That is lost on kernels
/// without the fix of CVE-2026-23473 (axboe/liburing#1549), and on those with it if both were there
/// when the kernel began to wait. So a receiver that has had bytes and then
/// none for `limits::hangup_check_ms` is looked at once, with poll(2); one whose peer is gone is
/// stopped and asked again, which tells what there is. What goes on receiving costs nothing but a
/// walk through a list.
class Hangups : private coro::Timer {
public:
    inline explicit Hangups(coro::Scheduler& scheduler) noexcept
        : Timer{[](Timer& self) noexcept { static_cast<Hangups&>(self).look(); }},
          scheduler_{scheduler} {}

    /// Looks at `receiver`, which the kernel has just brought bytes for, when none follow.
    void watch(Receiver& receiver) noexcept;

private:
    void look() noexcept;
    static void check(std::span<Receiver* const> quiet) noexcept;

    coro::Scheduler& scheduler_;
    std::array<coro::List<Multishot>, 2> lists_;  ///< that is gone through, and of the next time
    std::size_t filling_ = 0;                     ///< the latter
};

}  // namespace ringfort::uring
