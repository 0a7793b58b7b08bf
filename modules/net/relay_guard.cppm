export module ringfort.net:relay_guard;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import ringfort.uring;
import :stream;

namespace ringfort::net {

/// Cancels a relay's scope when nothing has moved for the limit. Instead of moving the timer at
/// every byte it notes the time, and looks at it when the timer fires. Bytes that the kernel still
/// has to deliver count when the peer takes some of them from one look to the next.
class IdleGuard : private coro::Timer {
public:
    IdleGuard(uring::Loop& loop, coro::Scope& scope, std::optional<Milliseconds> limit,
              std::array<RawFd, 2> sockets) noexcept;

    inline void touch() noexcept { last_ = loop_.scheduler().time(); }
    /// Has the processor fetch what `touch` looks at.
    inline void fetch() const noexcept { __builtin_prefetch(&last_, 1); }
    [[nodiscard]] inline bool expired() const noexcept { return expired_; }

private:
    void look() noexcept;
    [[nodiscard]] bool delivers() noexcept;

    Instant last_{};  ///< this and the next: what each touch looks at
    uring::Loop& loop_;
    coro::Scope& scope_;
    Milliseconds limit_;
    Instant suspected_{};  ///< the last touch, when the limit had passed at a look
    std::array<RawFd, 2> sockets_;
    std::optional<std::uint64_t> delivered_;  ///< at the last look, if something was left
    bool expired_ = false;
};

/// Two sockets that are in non-blocking mode while a direction between them is spliced: splice(2)
/// waits for them otherwise. What a ring receives and sends on them waits in the kernel all the
/// same, because a ring does not look at O_NONBLOCK there.
class NonBlocking {
public:
    explicit NonBlocking(std::array<RawFd, 2> sockets) noexcept : sockets_{sockets} {}
    NonBlocking(NonBlocking&&) = delete;

    /// Holds the mode; the last one to end restores it.
    class Hold {
    public:
        explicit Hold(NonBlocking& mode) noexcept : mode_{mode} {
            if (mode_.holders_++ == 0) mode_.enter();
        }
        Hold(Hold&&) = delete;
        ~Hold() {
            if (--mode_.holders_ == 0) mode_.leave();
        }

    private:
        NonBlocking& mode_;
    };

private:
    void enter() const noexcept;
    void leave() const noexcept;

    std::array<RawFd, 2> sockets_;
    unsigned holders_ = 0;
};

}  // namespace ringfort::net
