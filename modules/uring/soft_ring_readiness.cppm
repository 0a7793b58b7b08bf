module;
#include <sys/epoll.h>
#include <time.h>
module ringfort.uring:soft_ring_readiness;

import ringfort.base;
import ringfort.std;
import :soft_ring;
import :soft_ring_requests;

// Nothing here is exported: it is SoftRing's inside.
namespace ringfort::uring::soft {

/// A descriptor's entry in an epoll instance.
struct Registration {
    bool present = false;
    std::uint32_t mask = 0;
    std::uint32_t generation = 0;  ///< told apart from those of the number's earlier files
};

/// Who waits for a descriptor, and how it is registered.
struct Watch {
    RequestList waiters;
    Registration level;              ///< for all but multishot polls; kept when nobody waits
    Registration edge;               ///< for multishot polls alone, as long as there is one
    std::uint32_t trust_serial = 0;  ///< counts the waits begun on a kept registration
    std::uint8_t fruitless = 0;      ///< times it was ready in a row without anything coming of it
    bool trusted = false;   ///< the present wait relies on a registration that was not checked
    bool troubled = false;  ///< epoll is of no use: tried again and again instead
    bool drained = false;   ///< the last receive took all there was
};

/// That a descriptor is ready.
struct Event {
    RawFd fd;
    std::uint32_t bits;
    bool edge;
};

/// Which requests wait for which descriptor, and the epoll instances that know when it is ready.
///
/// The first instance is level-triggered: what is left in a socket is announced again, so that a
/// request may stop early and nothing depends on a guess. A registration is kept when its request
/// ends, because the next one usually comes; it is narrowed when it announces what nobody waits
/// for. A kept one may belong to an earlier file of the same number, closed behind our back: so it
/// is checked (EPOLL_CTL_MOD fails with ENOENT) once a wait has relied on it for
/// `limits::soft_ring_trust_ms`. A registration whose number is gone but whose file lives on in
/// another process can only be got rid of with the whole instance, which is then rebuilt.
class Readiness {
public:
    /// Errors: EMFILE, ENFILE, ENOMEM.
    [[nodiscard]] Result<void> open();

    /// Lets a request wait for `request.events` on its descriptor. Returns 0; -EPERM for a file
    /// that is always ready; -EBADF.
    [[nodiscard]] int wait(Request& request);
    /// Takes a waiting request out.
    void leave(Request& request) noexcept;
    /// Deregisters a descriptor that is about to be closed and strands who waits for it.
    void forget(RawFd fd) noexcept;
    /// Says that the number has just been given to a new file.
    void renewed(RawFd fd) noexcept;
    /// Says that the number may have been given to a new file.
    void distrust(RawFd fd) noexcept;

    /// Returns who waits for a descriptor; null when nothing was ever kept about it.
    [[nodiscard]] Watch* find(RawFd fd) noexcept;
    /// Reports whether the level-triggered instance announces these bits, so that a first try can
    /// be left out where the last one found nothing.
    [[nodiscard]] bool announces(RawFd fd, std::uint32_t bits) noexcept;
    /// Reports whether a request other than a poll waits for one of these bits.
    [[nodiscard]] bool has_waiter(RawFd fd, std::uint32_t bits) noexcept;
    /// Notes whether the last receive took all there was.
    void drained(RawFd fd, bool all) noexcept;
    [[nodiscard]] bool is_own(RawFd fd) const noexcept {
        return fd >= 0 && (fd == level_.get() || fd == edge_.get());
    }

    /// Waits for descriptors: not at all with a zero limit, for ever when null. Returns how many
    /// are ready, or -errno.
    [[nodiscard]] int poll(const timespec* limit) noexcept;
    /// Returns what the last `poll` found.
    [[nodiscard]] std::span<const Event> events() const noexcept { return events_; }
    /// Narrows a registration to what is waited for, after the bits came.
    void settle(RawFd fd, std::uint32_t bits, bool taken) noexcept;
    /// Leaves epoll alone for this descriptor, which is then among `troubled`.
    void trouble(RawFd fd);
    /// Takes the descriptors that have to be tried without epoll; who still waits for one is given
    /// to epoll again by `recover`.
    [[nodiscard]] std::vector<RawFd> take_troubled() noexcept;
    void recover(RawFd fd) noexcept;

    /// Reports whether there is anything that `poll` could find.
    [[nodiscard]] bool watching() const noexcept { return registered_ > 0; }
    [[nodiscard]] bool has_troubled() const noexcept { return !troubled_.empty(); }
    [[nodiscard]] bool has_trusted() const noexcept { return !trusted_.empty(); }
    /// Checks the registrations that have been relied on for long enough. Returns those whose
    /// descriptor turned out to be closed.
    [[nodiscard]] std::vector<RawFd> check_trusted(Instant time) noexcept;
    /// Rebuilds the instances, if registrations were found that nothing else removes.
    void sweep() noexcept;

    SoftRingStatistics statistics;

private:
    struct Trust {
        RawFd fd;
        std::uint32_t serial;
        Instant since;
    };
    [[nodiscard]] int control(RawFd instance, int operation, RawFd fd, std::uint32_t mask,
                              std::uint32_t generation) noexcept;
    [[nodiscard]] int arm(RawFd instance, RawFd fd, Registration& registration,
                          std::uint32_t mask) noexcept;
    [[nodiscard]] int arm_edge(RawFd fd, Watch& watch) noexcept;
    int drop(RawFd instance, RawFd fd, Registration& registration) noexcept;
    void clear(Registration& registration) noexcept;
    void strand(Watch& watch) noexcept;
    [[nodiscard]] static std::uint32_t wanted(const Watch& watch, bool edge) noexcept;
    void collect(std::span<const epoll_event> found, bool edge) noexcept;

    Fd level_;
    Fd edge_;                     ///< opened with the first multishot poll, and watched by `level_`
    std::vector<Watch> watches_;  ///< by descriptor
    RequestList stranded_;
    std::vector<Event> events_;
    std::vector<RawFd> troubled_;
    std::deque<Trust> trusted_;
    std::size_t registered_ = 0;
    std::uint32_t generation_ = 0;
    bool orphaned_ = false;   ///< a registration was met that no number leads to
    bool no_pwait2_ = false;  ///< the kernel, or its filter, does not know epoll_pwait2(2)
};

}  // namespace ringfort::uring::soft
