export module ringfort.net:relay_direction;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import ringfort.uring;
import :relay_guard;
import :stream;

namespace ringfort::net {

/// What the two directions of a relay share. Learns at once of what either side does not take.
struct Relaying : uring::SendFailureHook {
    inline Relaying(uring::Loop& on, coro::Scope& both, std::optional<Milliseconds> idle_limit,
                    std::array<RawFd, 2> sockets) noexcept
        : SendFailureHook{[](SendFailureHook& self, const Error& error) noexcept {
              static_cast<Relaying&>(self).fail(error);
          }},
          loop{on},
          scope{both},
          guard{on, both, idle_limit, sockets},
          non_blocking{sockets} {}

    uring::Loop& loop;
    coro::Scope& scope;
    IdleGuard guard;
    NonBlocking non_blocking;
    std::optional<Error> failure;  ///< the first one

    /// Ends both directions.
    void fail(const Error& error) noexcept {
        if (!failure) failure = error;
        scope.cancel();
    }
};

/// Looks from time to time, while a direction waits for its reader, whether the writer is still
/// there: the relay receives nothing from it meanwhile, and would learn of a reset when the reader
/// goes on, which may be never.
class StallGuard : private coro::Timer {
public:
    /// Watches `writer` as long as it lives. Both must outlive it.
    StallGuard(Relaying& relaying, uring::Socket& writer) noexcept;

private:
    void rearm() noexcept;
    void look() noexcept;

    Relaying& relaying_;
    uring::Socket& writer_;
};

/// One direction of a relay.
struct Direction {
    Relaying& relaying;
    Stream& from;
    Stream& to;
    std::uint64_t& moved;

    void count(std::size_t bytes) const noexcept {
        moved += bytes;
        relaying.guard.touch();
    }
    /// Has the processor fetch what `count` is going to touch: with many relays it is not in the
    /// cache.
    void fetch() const noexcept {
        __builtin_prefetch(&moved, 1);
        relaying.guard.fetch();
    }
};

/// Moves bytes until `from` ends, and tells `to` that it has. A failure is the relay's.
coro::Task<> run(Direction direction);

}  // namespace ringfort::net
