module;
#include <sys/types.h>
export module ringfort.cycle:passed;

import ringfort.base;
import ringfort.process;
import ringfort.std;
import :listener;
import :snapshot;
import :stock;

export namespace ringfort::cycle {

/// Which open files a service manager keeps under which name, in order: by inode, which sockets and
/// memfds have to themselves.
using Kept = std::map<std::string, std::vector<ino_t>>;

/// What a service manager has passed: sockets it has opened, and what it kept of an earlier master.
struct Passed {
    Stock stock;
    Kept kept;

    /// Returns the listeners among it.
    [[nodiscard]] std::vector<std::shared_ptr<Listener>> listeners() const;
};

/// Makes listeners and zones of what was passed. What `known` has already, and what is neither a
/// stream socket that listens, nor a socket of UDP that is bound, nor a zone, is closed, the latter
/// with a warning.
[[nodiscard]] Passed accept_passed(std::vector<process::PassedFd> passed, const Stock& known);

/// Ends the part of the listeners that were passed, when a cycle serves: they are this process's
/// own. Warns of those that the cycle does not use.
void use_passed(const std::vector<std::shared_ptr<Listener>>& passed, const Cycle& cycle);

/// What is kept of a cycle that serves, by the name it is kept under: "ringfort" for what all
/// workers share, zones included, and "ringfort-0" and so on for the sockets of a slot.
[[nodiscard]] std::map<std::string, std::vector<RawFd>> to_be_kept(const Cycle& cycle);

/// Names the files behind the descriptors.
[[nodiscard]] Kept identify(const std::map<std::string, std::vector<RawFd>>& fds);

}  // namespace ringfort::cycle
