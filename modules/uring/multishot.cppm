module;
#include <cstdint>
export module ringfort.uring:multishot;

import ringfort.base;
import ringfort.coro;
import :request;

export namespace ringfort::uring {

class Answers;
class BufferPool;
class Loop;
class Receiver;
class Sender;

/// A request that no task awaits itself, which the kernel may answer more than once, until it says
/// that there will be no more: the life that Receiver, Sender and Answers have in common, who take
/// the answers each in its own way.
///
/// Its life: idle -> (waiting for room or a buffer ->) armed -> (asked to stop ->) idle. It may end
/// by itself at any time, for example because the completion queue was full.
class Multishot : private coro::ListNode<Multishot> {
public:
    Multishot(Multishot&&) = delete;

    /// Tells whether the kernel may still answer.
    [[nodiscard]] inline bool armed() const noexcept { return state_ != State::idle; }

protected:
    /// Who takes the answers: told by the lowest bits of their tag, the rest of which is the
    /// request's address, so that each answer is one direct call.
    enum class Taker : std::uint8_t { receiver = 1, answers = 2, sender = 3 };

    inline Multishot(Loop& loop, Taker taker) noexcept : loop_{loop}, taker_{taker} {}
    ~Multishot();

    /// Asks the kernel; does nothing when it was asked already.
    inline void arm() noexcept {
        if (state_ == State::idle) submit();
    }
    /// Asks the kernel to end the request, once. Returns false when nothing will answer, because
    /// the kernel does not know of it.
    bool stop() noexcept;
    /// Asks anew when the pool has a buffer. For a request that ended because it had none.
    void arm_with_buffer(BufferPool& pool) noexcept;
    [[nodiscard]] inline Loop& loop() const noexcept { return loop_; }

private:
    friend class Loop;
    friend class coro::List<Multishot>;
    enum class State : std::uint8_t {
        idle,            ///< the kernel knows nothing of it
        without_room,    ///< found the submission queue full
        without_buffer,  ///< found the buffer pool empty
        armed,
        stopping  ///< asked to end
    };
    static constexpr std::uint64_t takers = 3;  ///< the bits of a tag

    void submit() noexcept;
    [[nodiscard]] Request request() const noexcept;
    [[nodiscard]] inline std::uint64_t tag() const noexcept {
        return reinterpret_cast<std::uintptr_t>(this) | static_cast<std::uint64_t>(taker_);
    }
    /// Tells whether the kernel is to be asked to end it, when something is to be asked.
    [[nodiscard]] inline bool submitted() const noexcept { return state_ == State::stopping; }

    Loop& loop_;
    State state_ = State::idle;
    Taker taker_;

protected:
    bool prompt_ = false;  ///< answered while it is submitted, and nobody waits for the answer
};

}  // namespace ringfort::uring
