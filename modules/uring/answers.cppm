export module ringfort.uring:answers;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :buffers;
import :multishot;
import :request;

export namespace ringfort::uring {

class Answers;
class Loop;

/// One answer of the kernel: a number, an error (-errno) among them, and the bytes that came with
/// it.
struct Answer {
    int result = 0;
    Lease lease = {};
};

/// The base of the awaitables of one answer.
class NextOperation : public MultishotWait {
public:
    /// Whether the kernel is to go on, or to end: then what it did before is yielded first, and
    /// nothing cancels the waiting.
    enum class Kind : std::uint8_t { next, last };

    NextOperation(Answers& answers, Kind kind, std::optional<Milliseconds> limit) noexcept;

    template <coro::TaskPromise P>
    inline bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }

protected:
    /// Returns the answer; nothing after the last one. Errors: the kernel's; ECANCELED; ETIMEDOUT.
    [[nodiscard]] Result<std::optional<Answer>> take() noexcept;

private:
    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    [[nodiscard]] Answers& answers() const noexcept;

    Kind kind_;
};

/// A multishot request, and the answers that nobody has taken yet, oldest first.
///
/// Asked for again whenever the kernel ends it without being told to, out of buffers included. An
/// error is an answer like any other, and ends the request until the next is awaited: whoever takes
/// one decides when to try again. Told to end when `bound` answers wait to be taken, and asked for
/// again when half of them are. Owned by the loop once `abandon` was called, and destroyed when the
/// kernel has let go of it.
class Answers : private Multishot {
public:
    /// `request` refers to what outlives this, but for its descriptor, which may be closed after
    /// `abandon`. With a pool the kernel picks a buffer of it for each answer.
    Answers(Loop& loop, const Request& request, std::size_t bound,
            BufferPool* pool = nullptr) noexcept;

    /// Ends the request and drops what has come: descriptors are closed, buffers given back.
    void abandon() noexcept;
    /// Counts what nobody has taken.
    [[nodiscard]] inline std::size_t pending() const noexcept { return count_; }
    using Multishot::armed;
    [[nodiscard]] inline Loop& loop() const noexcept { return Multishot::loop(); }

private:
    friend class Loop;
    friend class Multishot;
    friend class NextOperation;
    ~Answers();
    void complete(int result, std::uint32_t flags) noexcept;
    void ended(int result) noexcept;
    void ask() noexcept;
    void push(Answer answer) noexcept;
    [[nodiscard]] Answer pop() noexcept;
    void drop(Answer answer) noexcept;
    [[nodiscard]] inline Step step() const noexcept { return step_of(request_.opcode); }

    Request request_;
    BufferPool* pool_;
    std::vector<Answer> ring_;  ///< its size is 0 or a power of two
    std::size_t head_ = 0;
    std::size_t count_ = 0;
    std::size_t bound_;
    bool paused_ = false;     ///< by somebody who wants the last
    bool failed_ = false;     ///< the last answer is an error
    bool abandoned_ = false;  ///< owned by the loop
};

}  // namespace ringfort::uring
