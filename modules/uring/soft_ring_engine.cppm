module;
#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
module ringfort.uring:soft_ring_engine;

import ringfort.base;
import ringfort.std;
import :soft_ring;
import :soft_ring_buffers;
import :soft_ring_queues;
import :soft_ring_readiness;
import :soft_ring_requests;

// Nothing here is exported: it is SoftRing's inside.
namespace ringfort::uring::soft {

/// What an attempt to carry out a request came to.
enum class Outcome : std::uint8_t {
    ended,  ///< its last completion is posted
    waits,  ///< until its descriptor has one of `Request::events`
    retry   ///< cannot be waited for by readiness: to be tried again soon
};

/// Carries requests out: the part of io_uring behind its queues.
///
/// Every opcode is one function `Outcome f(Request&)`, called when the request is submitted and
/// whenever its descriptor is ready, until it answers `ended`.
class Engine {
public:
    Engine(unsigned submissions, unsigned completions) : queues{submissions, completions} {}

    /// See SoftRing.
    [[nodiscard]] int enter(unsigned wait_for, const __kernel_timespec* limit);

    Queues queues;
    BufferGroups buffers;
    Readiness readiness;

private:
    // The turn.
    void submit(const io_uring_sqe& sqe);
    void begin(Request& request);
    void begin_waiting(Request& request, Outcome outcome);
    [[nodiscard]] Outcome attempt(Request& request);
    void dispatch();
    void ready(const Event& event);
    void retry_troubled();
    /// Tries who waits for these bits, in order. Reports whether any did, and if so, anything came
    /// of it.
    struct Tried {
        bool taken = false;
        bool fruitful = false;
    };
    Tried try_waiters(RawFd fd, std::uint32_t bits, bool edge);
    void discard(Request& request);

    // Completions.
    Outcome end(Request& request, std::int32_t result, std::uint32_t flags = 0);
    Outcome fail(Request& request, std::int32_t result, std::uint32_t flags = 0);
    Outcome finish(Request& request, std::int32_t result);  ///< by the result's sign
    void more(Request& request, std::int32_t result, std::uint32_t flags);
    Outcome wait(Request& request, std::uint32_t events) noexcept;

    // Preparation, as the kernel's prep functions do it: 0 or -errno.
    [[nodiscard]] static int check(const io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int prepare(Request& request);

    // Sending and receiving.
    Outcome receive(Request& request);
    Outcome received(Request& request, std::size_t count, std::size_t capacity);
    Outcome receive_failed(Request& request, int error);
    Outcome receive_message(Request& request);
    Outcome receive_messages(Request& request);
    [[nodiscard]] bool waits_all(const Request& request) const noexcept;
    /// Reports whether a first try can be left out: asked for, known to be in vain, or not its
    /// turn.
    [[nodiscard]] bool put_off(Request& request, unsigned poll_first,
                               std::uint32_t events) noexcept;
    /// The same of a receive, which fails at once when there is no buffer to pick.
    [[nodiscard]] bool put_off_receive(Request& request) noexcept;
    Outcome send(Request& request);
    /// Sends what is left; nothing when that was all that this request will send for now.
    [[nodiscard]] std::optional<Outcome> push(Request& request);
    [[nodiscard]] bool take_buffers(Request& request, std::size_t most);

    // Connections.
    Outcome accept(Request& request);
    Outcome connect(Request& request);
    Outcome shut_down(Request& request);

    // Files.
    Outcome read_or_write(Request& request);
    Outcome move_whole(Request& request);
    Outcome moved(Request& request, std::int64_t result);
    Outcome file_call(Request& request);
    Outcome close(Request& request);

    // The rest.
    Outcome poll(Request& request);
    Outcome futex_wait(Request& request);
    Outcome futex_wake(Request& request);
    void check_futexes();
    Outcome cancel(Request& request);
    void collect_matches(const io_uring_sqe& sqe, std::vector<Request*>& matches);
    void cancel_waiting(Request& request);

    // Waiting.
    [[nodiscard]] std::optional<timespec> longest_wait(bool block,
                                                       const std::optional<Instant>& deadline);

    Requests requests_;
    RequestList futexes_;
    std::vector<iovec> parts_;  ///< of the receive being carried out
    bool progress_ = false;     ///< something was moved or completed since it was last cleared
};

}  // namespace ringfort::uring::soft
