export module ringfort.coro:stall;

import ringfort.base;
import ringfort.std;
import :context;

export namespace ringfort::coro {

/// Notices tasks that keep a thread from everything else, and writes to the log whose they are.
///
/// It is told of stretches of resumptions of one label. The first report of a stall may stand for
/// several resumptions; for the second after it each one is measured, so that what is slow again is
/// reported exactly. At most one warning in `limits::stall_report_ms`, but for the first exact one.
class StallDetector {
public:
    /// Tells whether each resumption is to be measured by itself at `instant`.
    [[nodiscard]] inline bool exact(Instant instant) const noexcept {
        return instant < exact_until_;
    }

    /// Takes note that `count` resumptions of one label began at `begin` and ended at `end`.
    inline void measured(const Label* label, std::size_t count, Instant begin,
                         Instant end) noexcept {
        if (end - begin >= limits::stall_ms) [[unlikely]]
            stalled(label, count, begin, end);
    }

private:
    void stalled(const Label* label, std::size_t count, Instant begin, Instant end) noexcept;

    Instant exact_until_ = Instant::min();
    Instant quiet_until_ = Instant::min();
    bool told_exactly_ = true;      ///< nothing more exact is to follow the last report
    std::uint64_t suppressed_ = 0;  ///< stalls since the last report that were not reported
};

}  // namespace ringfort::coro
