module;
#include <cstdint>
export module ringfort.uring:multishot;

import ringfort.base;
import ringfort.coro;
import :request;

export namespace ringfort::uring {

class BufferPool;
class Loop;

/// A request that no task awaits itself, which the kernel may answer more than once, until it says
/// that there will be no more: the base of what takes such answers.
///
/// Its life: idle -> (waiting for room or a buffer ->) armed -> (asked to stop ->) idle. It may end
/// by itself at any time, for example because the completion queue was full.
class Multishot : private coro::ListNode<Multishot> {
public:
    Multishot(Multishot&&) = delete;

    /// Tells whether the kernel may still answer.
    [[nodiscard]] inline bool armed() const noexcept { return state_ != State::idle; }

protected:
    /// Takes one answer: a completion's result and flags. Called from the loop; resumes nothing.
    using Take = void (*)(Multishot&, int result, std::uint32_t flags) noexcept;

    inline Multishot(Loop& loop, const Request& request, Take take) noexcept
        : request_{request}, loop_{loop}, take_{take} {}
    ~Multishot();

    /// Asks the kernel; does nothing when it was asked already.
    void arm() noexcept;
    /// Asks the kernel to end the request, once. Returns false when nothing will answer, because
    /// the kernel does not know of it.
    bool stop() noexcept;
    /// Asks anew when the pool has a buffer. For a request that ended because it had none.
    void arm_with_buffer(BufferPool& pool) noexcept;
    [[nodiscard]] inline Loop& loop() const noexcept { return loop_; }

    Request request_;
    bool prompt_ = false;  ///< answered while it is submitted, and nobody waits for the answer

private:
    friend class Loop;
    friend class coro::List<Multishot>;
    enum class State : std::uint8_t { idle, without_room, without_buffer, armed, stopping };

    Loop& loop_;
    Take take_;
    State state_ = State::idle;
};

}  // namespace ringfort::uring

namespace ringfort::uring {

/// Set in the tag of a completion that answers a Multishot; the rest is its address.
inline constexpr std::uint64_t multishot_bit = 2;

inline std::uint64_t tag_of(const Multishot& request) noexcept {
    return reinterpret_cast<std::uintptr_t>(&request) | multishot_bit;
}

}  // namespace ringfort::uring
