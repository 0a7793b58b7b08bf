/// Relaying between two streams, in one of two ways, each direction for itself.
///
/// Copying: the ring keeps up a receive into shared buffers, and what it brings is posted to the
/// other socket (uring::Sender): what gathers while a send is in flight goes as one. Lowest
/// latency: a small message costs one turn of the loop and one resumption a hop.
///
/// Splicing: when readable (a poll in the ring), the socket's pages move to a pipe and from there
/// to the other socket, by two calls of splice(2). No byte is touched. Never IORING_OP_SPLICE,
/// which the kernel hands to threads.
///
/// A direction is bulk when receives of at least `relay_bulk_chunk` add up to `relay_bulk_run`
/// without a smaller one between them, which a ping-pong never does and a download does at once; it
/// is bulk no more after `relay_small_splices` splices in a row below `relay_small_splice`. To
/// begin to splice, the receive is cancelled, what the kernel delivered until it let go is sent,
/// and only then is the socket read again: nothing is lost or overtaken. To end, the receive is
/// asked for.
///
/// splice(2) waits on a socket unless the file is O_NONBLOCK, whatever its own flags say; so both
/// sockets are, while either direction splices. The other direction may copy meanwhile: receives
/// and sends of a ring do not look at O_NONBLOCK (a test holds the kernel to that).
///
/// Pipes belong to the thread. A direction has one only while bytes are in it, so few are open and
/// they stay in the cache. Where none is to be had (limit, EMFILE, the user's pipe memory), or the
/// socket cannot be spliced, copying goes on. A pipe with bytes in it is closed, never lent again.
/// Sources: splice(2), pipe(7); the kernel's fs/splice.c and net/ipv4/tcp.c.
export module ringfort.net:relay;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import ringfort.uring;
import :stream;

export namespace ringfort::net {

/// How many bytes a relay has moved, each way; filled in while it runs.
struct RelayTotals {
    std::uint64_t forward = 0;   ///< from the first stream to the second
    std::uint64_t backward = 0;  ///< from the second stream to the first
};

/// Moves bytes both ways between two streams until both have ended.
///
/// An end of one side is passed on to the other as a half-close, and the opposite direction goes
/// on. What a direction holds is bounded, by `limits::receive_burst` and a buffer or by a pipe, so
/// a slow reader holds its writer back. An error on either side ends both, and the other side is
/// closed with a reset, so that cut-off bytes are not taken for all of them. The totals count what
/// the other side's socket has confirmed to have taken; that is all of it unless the relay fails.
/// Suspends; cancellable. Errors: the first one of either side; ETIMEDOUT when for `idle_limit` no
/// byte has moved in either direction. A reader that takes bytes is not idle; one that has some
/// left and takes none is found out after at most twice the limit.
[[nodiscard]] coro::Task<Result<void>> relay(uring::Loop& loop, Stream& first, Stream& second,
                                             std::optional<Milliseconds> idle_limit,
                                             RelayTotals& totals);

}  // namespace ringfort::net
