module;
#include <sys/socket.h>
export module ringfort.uring:gather;

import ringfort.base;
import ringfort.std;
import :operation;
import :request;

export namespace ringfort::uring {

/// Bytes that lie apart, to be sent as one: a header and a body.
using Pieces = std::span<const std::span<const std::byte>>;

/// Awaits that all bytes of several pieces are sent, in their order (sendmsg(2)).
class GatheredSend : public VoidOperation {
public:
    GatheredSend(Loop& loop, RawFd socket, Pieces pieces,
                 std::optional<Milliseconds> limit) noexcept;

private:
    friend class Operation;

    /// Notes that bytes have gone; returns whether those were all.
    bool advance_pieces(std::size_t moved) noexcept;
    void fill_window() noexcept;

    Pieces rest_;  ///< not in the window yet
    std::array<iovec, limits::gather_pieces> window_{};
    msghdr message_{};
};

}  // namespace ringfort::uring
