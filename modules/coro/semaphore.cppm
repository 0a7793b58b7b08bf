export module ringfort.coro:semaphore;

import ringfort.base;
import ringfort.std;
import :context;
import :list;
import :waiter;

export namespace ringfort::coro {

class Semaphore;

/// Some permits of a Semaphore, given back when it ends. Move-only; the semaphore must outlive it.
class [[nodiscard]] Permit {
public:
    Permit(Permit&& other) noexcept
        : semaphore_{std::exchange(other.semaphore_, nullptr)}, count_{other.count_} {}
    Permit& operator=(Permit&& other) noexcept {
        std::swap(semaphore_, other.semaphore_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Permit() { release(); }

    /// Gives the permits back now. Does nothing the second time.
    void release() noexcept;

private:
    friend class Semaphore;
    Permit(Semaphore& semaphore, std::size_t count) noexcept
        : semaphore_{&semaphore}, count_{count} {}

    Semaphore* semaphore_;
    std::size_t count_;
};

/// A number of permits that tasks take and give back: limits how many do something at a time.
/// First come, first served: a request for many is not overtaken by one for few. Destroying it
/// while permits are out or a task waits aborts.
class Semaphore {
public:
    class Acquire;

    /// Makes one with so many permits.
    explicit Semaphore(std::size_t permits) noexcept : total_{permits}, free_{permits} {}
    Semaphore(Semaphore&&) = delete;
    ~Semaphore();

    /// Awaits `count` permits at once; more than there are in all aborts. Suspends unless they are
    /// free and nobody waits before. Cancellable: ECANCELED, unless the permits had been given.
    [[nodiscard]] Acquire acquire(std::size_t count = 1) noexcept;
    /// Takes `count` permits if they are free and nobody waits for any.
    [[nodiscard]] std::optional<Permit> try_acquire(std::size_t count = 1) noexcept;
    /// Counts the permits that nobody holds.
    [[nodiscard]] inline std::size_t available() const noexcept { return free_; }

private:
    friend class Permit;
    bool take(std::size_t count) noexcept;
    void give_back(std::size_t count) noexcept;
    void serve() noexcept;

    std::size_t total_;
    std::size_t free_;
    List<Waiter> waiting_;
};

/// The awaitable of `Semaphore::acquire`.
class [[nodiscard]] Semaphore::Acquire : private Waiter {
public:
    Acquire(Semaphore& semaphore, std::size_t count) noexcept
        : semaphore_{semaphore}, count_{count} {}
    [[nodiscard]] inline bool await_ready() const noexcept { return false; }
    template <TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> task) noexcept {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] Result<Permit> await_resume() noexcept;

private:
    friend class Semaphore;
    bool begin(std::coroutine_handle<> task, const Context& context) noexcept;

    Semaphore& semaphore_;
    std::size_t count_;
};

/// See the declaration.
inline Semaphore::Acquire Semaphore::acquire(std::size_t count) noexcept {
    return Acquire{*this, count};
}

}  // namespace ringfort::coro
