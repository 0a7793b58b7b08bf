export module ringfort.uring:counted;

import ringfort.base;
import ringfort.coro;
import ringfort.std;

export namespace ringfort::uring {

/// An operation on a socket, a file or the like that counts those on it, and so knows that it must
/// be neither moved nor destroyed before the task that awaits this has gone on.
template <class Work>
class Counted {
public:
    /// Counts what `make` returns in `count`.
    template <class Make>
    inline Counted(std::uint32_t& count, Make&& make)
        : work_(std::forward<Make>(make)()), count_{count} {
        ++count_;
    }
    Counted(Counted&&) = delete;
    inline ~Counted() { --count_; }

    [[nodiscard]] inline bool await_ready() const noexcept { return false; }
    template <coro::TaskPromise P>
    inline bool await_suspend(std::coroutine_handle<P> task) {
        return work_.await_suspend(task);
    }
    [[nodiscard]] inline auto await_resume() noexcept { return work_.await_resume(); }
    /// Ends it as its time limit would; see Operation.
    inline void expire() noexcept { work_.expire(); }

private:
    Work work_;
    std::uint32_t& count_;
};

}  // namespace ringfort::uring
