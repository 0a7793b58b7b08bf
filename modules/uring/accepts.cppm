export module ringfort.uring:accepts;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :answers;
import :loop;

export namespace ringfort::uring {

/// Gives an Answers back to its loop.
struct Abandon {
    inline void operator()(Answers* answers) const noexcept { answers->abandon(); }
};

/// Awaits a connection of an AcceptStream: a descriptor, which the caller owns.
class NextAccept : public NextOperation {
public:
    using NextOperation::NextOperation;
    [[nodiscard]] Result<Fd> await_resume() noexcept;
};

/// Awaits a connection that was accepted before the stream was told to end, or nothing.
class LastAccept : public NextOperation {
public:
    using NextOperation::NextOperation;
    [[nodiscard]] Result<std::optional<Fd>> await_resume() noexcept;
};

/// The connections of a listener, by one request that goes on accepting. For listeners that no
/// other process accepts from: on a shared one it would take every connection.
///
/// Accepts ahead of its user, at most `limits::accept_ahead` connections and those of a turn. One
/// task at a time may await. Destroying it closes what nobody has taken: take the `last` before.
class AcceptStream {
public:
    /// `listener` is borrowed, in blocking mode, and may be closed once the stream is destroyed.
    AcceptStream(Loop& loop, RawFd listener) noexcept;

    /// Awaits the next connection, closed on exec. Suspends; cancellable, and no connection is lost
    /// by it. Errors: those of accept(2), each once, after which nothing is accepted until this is
    /// called again; ECANCELED; ETIMEDOUT.
    [[nodiscard]] inline NextAccept next(std::optional<Milliseconds> limit = {}) noexcept {
        return {*answers_, NextOperation::Kind::next, limit};
    }
    /// Stops accepting, and yields what was accepted before; nothing when that was all. Suspends
    /// until the kernel has let go; not cancellable.
    [[nodiscard]] inline LastAccept last() noexcept {
        return {*answers_, NextOperation::Kind::last, std::nullopt};
    }
    /// Counts the connections that were accepted and not taken.
    [[nodiscard]] inline std::size_t pending() const noexcept { return answers_->pending(); }
    /// Tells whether the kernel is accepting.
    [[nodiscard]] inline bool armed() const noexcept { return answers_->armed(); }

private:
    std::unique_ptr<Answers, Abandon> answers_;
};

}  // namespace ringfort::uring
