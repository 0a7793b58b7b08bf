export module ringfort.process:activation;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// A descriptor that the service manager has given this process at its start.
struct PassedFd {
    std::string name;  ///< by LISTEN_FDNAMES: of a socket unit, or what it is kept under
    Fd fd;
};

/// Takes what the service manager has passed, once: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES go
/// out of the environment, and no later program inherits the descriptors. Returns nothing when they
/// are for another process, or make no sense, which is logged. Source: sd_listen_fds(3).
[[nodiscard]] std::vector<PassedFd> take_passed_fds();

}  // namespace ringfort::process
