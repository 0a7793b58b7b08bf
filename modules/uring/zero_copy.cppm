export module ringfort.uring:zero_copy;

import ringfort.base;
import ringfort.std;
import :loop;
import :operation;

export namespace ringfort::uring {

/// Awaits that all bytes are sent and that the kernel has let go of them: it takes them from where
/// they are instead of copying them (IORING_OP_SEND_ZC). Send one after the other. Pays on a
/// network card that reads the pages, from a size that `./x bench --zero-copy` measures; never over
/// loopback, where the kernel copies all the same.
///
/// That is when the peer has acknowledged them, so each send costs a round trip, and cancelling
/// waits for it too: a peer that does not read holds its sender until the connection is reset.
/// Where the kernel cannot send so (another kind of socket, RLIMIT_MEMLOCK or
/// net.core.optmem_max used up, no such operation), it copies. Errors: those of send(2); ECANCELED,
/// ETIMEDOUT: then some bytes may have gone.
class ZeroCopySend : public VoidOperation {
public:
    /// `bytes` must live until completion; never raises SIGPIPE.
    ZeroCopySend(Loop& loop, RawFd socket, std::span<const std::byte> bytes,
                 std::optional<Milliseconds> limit = {}) noexcept;
};

}  // namespace ringfort::uring
