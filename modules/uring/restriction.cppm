export module ringfort.uring:restriction;

import ringfort.base;
import ringfort.std;

extern "C" {
struct io_uring;
}

export namespace ringfort::uring {

/// What a restricted ring carries out beside what is done to descriptors that are open already. A
/// seccomp filter does not see what is asked of a ring.
struct Permits {
    bool files = false;        ///< opening them, and asking for their status
    bool connections = false;  ///< connecting sockets
};

}  // namespace ringfort::uring

namespace ringfort::uring {

/// Has a ring that was made disabled (IORING_SETUP_R_DISABLED) refuse, with EACCES and for ever,
/// whatever the driver never asks for and what `permits` leaves out; then enables it. Errors: those
/// of io_uring_register(2), EBADFD for a ring that is not disabled among them.
[[nodiscard]] Result<void> restrict_and_enable(io_uring& ring, const Permits& permits);

}  // namespace ringfort::uring
