module;
#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>
module ringfort.uring:soft_ring_requests;

import ringfort.std;

// Nothing here is exported: it is SoftRing's inside.
namespace ringfort::uring::soft {

/// What a request keeps of a message, an address or a list of buffers: the program may reuse its
/// own as soon as it has submitted, as with the kernel.
struct Message {
    msghdr header{};
    msghdr* user = nullptr;  ///< the program's, to which a receive reports
    std::vector<iovec> parts;
    std::size_t first = 0;   ///< of `parts`, not moved yet
    std::size_t length = 0;  ///< of the program's first part: bounds a provided buffer
    sockaddr_storage name{};

    /// Counts the bytes not moved yet.
    [[nodiscard]] std::size_t left() const noexcept;
    /// Takes `count` bytes as moved, and points `header` to the rest.
    void advance(std::size_t count) noexcept;
};

/// Where a request stands.
enum class Place : std::uint8_t {
    running,  ///< being carried out
    watched,  ///< waits until its descriptor is ready
    futex,    ///< waits until a word changes
    stranded  ///< its descriptor is gone; waits to be cancelled
};

/// A submission that has not ended.
struct Request {
    io_uring_sqe sqe{};
    Request* previous = nullptr;  ///< in the list of its place
    Request* next = nullptr;
    Request* same_bucket = nullptr;
    std::unique_ptr<Message> message;  ///< kept for the next request in this memory
    std::uint64_t done = 0;            ///< bytes moved so far
    std::uint32_t events = 0;          ///< the poll(2) bits it waits for
    std::uint32_t ready = 0;           ///< the bits that woke it
    std::uint32_t buffer_flags = 0;    ///< of the completion, once it holds a provided buffer
    Place place = Place::running;
    bool woken = false;        ///< its descriptor was ready since it was submitted
    bool in_progress = false;  ///< a connect that has begun
    bool aborted = false;      ///< a connect that saw ECONNABORTED once
    bool exhausted = false;    ///< a bundle that took its group's last buffer

    /// Gives the request's message, made when there is none.
    Message& text();
    [[nodiscard]] bool has(unsigned sqe_flag) const noexcept { return (sqe.flags & sqe_flag) != 0; }
    [[nodiscard]] bool wants(unsigned ioprio_flag) const noexcept {
        return (sqe.ioprio & ioprio_flag) != 0;
    }
    /// Reports whether it is a multishot poll, which waits for changes rather than for a state.
    [[nodiscard]] bool on_edges() const noexcept {
        return sqe.opcode == IORING_OP_POLL_ADD && (sqe.len & IORING_POLL_ADD_MULTI) != 0;
    }
};

/// Requests in the order in which they came. Owns nothing.
class RequestList {
public:
    void push_back(Request& request) noexcept;
    void remove(Request& request) noexcept;
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] Request* front() const noexcept { return first_; }

private:
    Request* first_ = nullptr;
    Request* last_ = nullptr;
};

/// The memory of all requests, and those that wait, found by user data.
class Requests {
public:
    Requests();
    Requests(Requests&&) = delete;

    /// Makes a request of a submission. Allocates only when more are alive than ever before.
    [[nodiscard]] Request& make(const io_uring_sqe& sqe);
    /// Takes the request's memory back.
    void release(Request& request) noexcept;

    /// Enters a request that waits into the index, and takes it out.
    void enter(Request& request);
    void leave(Request& request) noexcept;
    /// Returns the waiting requests of a bucket, linked by `same_bucket`, the newest first: all
    /// with this user data and perhaps others.
    [[nodiscard]] Request* bucket(std::uint64_t user_data) const noexcept;
    /// Gives the whole index, for those who search by other things.
    [[nodiscard]] const std::vector<Request*>& buckets() const noexcept { return buckets_; }
    [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }

private:
    [[nodiscard]] std::size_t slot(std::uint64_t user_data) const noexcept;
    void grow();

    std::vector<std::unique_ptr<Request[]>> blocks_;
    Request* free_ = nullptr;  ///< linked by `next`
    std::vector<Request*> buckets_;
    unsigned shift_;
    std::size_t waiting_ = 0;
};

}  // namespace ringfort::uring::soft
