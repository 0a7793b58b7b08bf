export module ringfort.coro:mutex;

import ringfort.base;
import ringfort.std;
import :semaphore;

export namespace ringfort::coro {

/// Lets one task at a time into a section that suspends; where nothing suspends in between, tasks
/// of one thread need no mutex. First come, first served. Destroying it while it is locked aborts.
class Mutex {
public:
    /// Unlocks when it ends, and hands the mutex to the first that waits.
    using Guard = Permit;

    Mutex() noexcept = default;
    inline ~Mutex() { ensure(!locked(), "a mutex was destroyed while it was locked"); }

    /// Awaits the mutex. Suspends while it is locked; cancellable: ECANCELED, unless the mutex had
    /// been handed over. Yields a Result<Guard>.
    [[nodiscard]] inline Semaphore::Acquire lock() noexcept { return semaphore_.acquire(); }
    /// Locks it unless it is locked.
    [[nodiscard]] inline std::optional<Guard> try_lock() noexcept {
        return semaphore_.try_acquire();
    }
    [[nodiscard]] inline bool locked() const noexcept { return semaphore_.available() == 0; }

private:
    Semaphore semaphore_{1};
};

}  // namespace ringfort::coro
