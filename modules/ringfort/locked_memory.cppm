export module ringfort:locked_memory;

import ringfort.std;

// Not exported: a check before anything is started.
namespace ringfort {

/// What the rings of a server are charged with, and what its user may have charged.
struct LockedMemory {
    std::uint64_t workers = 0;
    std::uint64_t ring_bytes = 0;   ///< of one worker, its buffers' ring included
    std::uint64_t limit_bytes = 0;  ///< RLIMIT_MEMLOCK, of all processes of the user together
};

/// Returns a warning, with the remedy, when the rings do not fit that exist during a reload: those
/// of two generations. Pure.
[[nodiscard]] std::optional<std::string> shortage_of(const LockedMemory& memory);

/// Tells whether the rings of this process are charged to its user: not when it has CAP_IPC_LOCK,
/// and not when the system refuses it io_uring.
[[nodiscard]] bool rings_are_charged() noexcept;

}  // namespace ringfort
