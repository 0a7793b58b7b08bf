export module ringfort.uring:multishot;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :request;

export namespace ringfort::uring {

class Answers;
class BufferPool;
class Loop;
class MultishotWait;
class Receiver;
class Sender;

/// A request that no task awaits itself, which the kernel may answer more than once, until it says
/// that there will be no more: the life that Receiver, Sender and Answers have in common, who take
/// the answers each in its own way.
///
/// Its life: idle -> (waiting for room or a buffer ->) armed -> (asked to stop ->) idle. It may end
/// by itself at any time, for example because the completion queue was full.
///
/// What ends a task's waiting for answers, cancelling and the time limit, stays registered from one
/// wait to the next: then a wait that begins and ends touches nothing but itself and this.
class Multishot : private coro::ListNode<Multishot>, private coro::CancelHook, private coro::Timer {
public:
    Multishot(Multishot&&) = delete;

    /// Tells whether the kernel may still answer.
    [[nodiscard]] inline bool armed() const noexcept { return state_ != State::idle; }
    /// Tells whether the kernel was asked, and not only is to be.
    [[nodiscard]] inline bool with_kernel() const noexcept { return state_ >= State::armed; }
    /// Tells whether the kernel was asked, and not to end it.
    [[nodiscard]] inline bool delivering() const noexcept { return state_ == State::armed; }

protected:
    /// Who takes the answers: told by the lowest bits of their tag, the rest of which is the
    /// request's address, so that each answer is one direct call.
    enum class Taker : std::uint8_t { receiver = 1, answers = 2, sender = 3, quick_send = 4 };

    inline Multishot(Loop& loop, Taker taker) noexcept
        : CancelHook{[](CancelHook& self) noexcept { static_cast<Multishot&>(self).cancelled(); },
                     coro::Attached::lastingly},
          Timer{[](Timer& self) noexcept { static_cast<Multishot&>(self).time_passed(); }},
          loop_{loop},
          taker_{taker} {}
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
    /// Tells whether a task waits for answers.
    [[nodiscard]] inline bool awaited() const noexcept;
    /// Tells whether a task waits, or was woken and has not gone on yet: it will look at this.
    [[nodiscard]] inline bool claimed() const noexcept { return waiter_ != nullptr; }
    /// Ends the waiting of a task, if one waits.
    inline void wake() noexcept;
    /// Ends the waiting of the task that waits.
    inline void wake_waiter() noexcept;
    [[nodiscard]] inline MultishotWait* waiter() const noexcept { return waiter_; }

private:
    friend class Loop;
    friend class MultishotWait;
    friend class coro::List<Multishot>;
    enum class State : std::uint8_t {
        idle,            ///< the kernel knows nothing of it
        without_room,    ///< found the submission queue full
        without_buffer,  ///< found the buffer pool empty
        armed,
        stopping  ///< asked to end
    };
    static constexpr std::uint64_t takers = 7;  ///< the bits of a tag

    /// Has the processor fetch what an answer with this tag is going to look at. With many
    /// connections it is not in the cache, and is waited for once when all is fetched together.
    /// Returns whether it is worth it: quick sends lie side by side.
    inline static bool prefetch(std::uint64_t tag) noexcept {
        if (static_cast<Taker>(tag & takers) == Taker::quick_send) return false;
        // The last members of this and the first of what is derived, in one line or in two.
        const auto end = static_cast<std::uintptr_t>(tag & ~takers) + sizeof(Multishot);
        __builtin_prefetch(reinterpret_cast<const void*>(end - 32), 1);
        __builtin_prefetch(reinterpret_cast<const void*>(end + 7), 1);
        return true;
    }
    void submit() noexcept;
    inline void begin_wait(MultishotWait& waiter, coro::CancelSource* source) noexcept;
    [[clang::preserve_most]] void attach(coro::CancelSource* source) noexcept;
    void cancelled() noexcept;
    void time_passed() noexcept;
    [[nodiscard]] Request request() const noexcept;
    [[nodiscard]] inline std::uint64_t tag() const noexcept {
        return reinterpret_cast<std::uintptr_t>(this) | static_cast<std::uint64_t>(taker_);
    }
    /// Tells whether the kernel is to be asked to end it, when something is to be asked.
    [[nodiscard]] inline bool submitted() const noexcept { return state_ == State::stopping; }

    Loop& loop_;
    MultishotWait* waiter_ = nullptr;
    coro::CancelSource* source_ = nullptr;  ///< that the hook is attached to
    State state_ = State::idle;
    Taker taker_;
};

/// The base of the awaitables of what a Multishot has brought. Cancelling and the time limit end
/// the waiting alone: what arrives later is kept for the next one.
class MultishotWait {
public:
    MultishotWait(MultishotWait&&) = delete;

    [[nodiscard]] inline bool await_ready() const noexcept { return false; }

protected:
    /// Waits for nobody yet where `request` is nullptr.
    inline MultishotWait(Multishot* request, std::optional<Milliseconds> limit) noexcept
        : request_{request}, limit_{limit.value_or(Milliseconds{-1})} {}
    inline ~MultishotWait() {
        ensure(state_ != State::waiting, "a wait for an answer was destroyed");
        give_up_claim();
    }

    /// The three ways to begin, each of which returns what `await_suspend` has to: not to wait,
    /// because the task was cancelled before;
    inline bool refuse() noexcept {
        state_ = State::cancelled;
        return false;
    }
    /// because what is waited for is there, but to let others go on when the task had its share;
    inline bool pass(std::coroutine_handle<> task, const coro::Context& context) noexcept {
        state_ = State::done;
        if (context.scheduler->spend()) return false;
        resumption_.prepare(task, context);
        context.scheduler->push(resumption_);
        return true;
    }
    /// to wait until woken, cancelled or out of time. Without a source in `context` nothing
    /// cancels.
    inline bool wait(std::coroutine_handle<> task, const coro::Context& context) noexcept {
        state_ = State::waiting;
        claims_ = true;
        scheduler_ = context.scheduler;
        resumption_.prepare(task, context);
        due_ = limit_.count() >= 0 ? scheduler_->after(limit_) : Instant::max();
        request_->begin_wait(*this, context.cancel);
        return true;
    }

    /// Leaves the request to others, before this ends.
    inline void give_up_claim() noexcept {
        if (std::exchange(claims_, false)) request_->waiter_ = nullptr;
    }
    /// Tells whether cancelling or the time limit has ended the waiting, or prevented it.
    [[nodiscard]] inline bool interrupted() const noexcept { return state_ > State::done; }
    /// Returns which of them: ECANCELED or ETIMEDOUT.
    [[nodiscard]] Error interruption(Step step) const noexcept;
    [[nodiscard]] inline Multishot* request() const noexcept { return request_; }
    inline void wait_for(Multishot& request) noexcept { request_ = &request; }

private:
    friend class Multishot;
    friend class Receiver;
    enum class State : std::uint8_t { idle, waiting, done, cancelled, timed_out };

    /// Has the processor fetch what is looked at when the task goes on.
    inline void fetch() const noexcept { resumption_.fetch(); }

    inline void end(State state) noexcept {
        state_ = state;
        scheduler_->push(resumption_);
    }

    Multishot* request_;
    union {
        Milliseconds limit_;  ///< negative: none
        Instant due_;         ///< once it has begun to wait
    };
    coro::Scheduler* scheduler_;  ///< this and the next from then on, too
    coro::Resumption resumption_;
    State state_ = State::idle;
    bool claims_ = false;  ///< waits, or did
};

/// Registers what ends the waiting of `waiter`, unless it still is.
inline void Multishot::begin_wait(MultishotWait& waiter, coro::CancelSource* source) noexcept {
    waiter_ = &waiter;
    if (source != source_) [[unlikely]]
        attach(source);
    if (waiter.due_ != Instant::max()) waiter.scheduler_->timers().arm_by(*this, waiter.due_);
}

/// See the declaration.
inline bool Multishot::awaited() const noexcept {
    return waiter_ != nullptr && waiter_->state_ == MultishotWait::State::waiting;
}

/// See the declaration.
inline void Multishot::wake() noexcept {
    if (awaited()) wake_waiter();
}

/// See the declaration.
inline void Multishot::wake_waiter() noexcept {
    waiter_->end(MultishotWait::State::done);
}

}  // namespace ringfort::uring
