export module ringfort.cycle:stock;

import ringfort.base;
import ringfort.std;
import :listener;
import :zones;

export namespace ringfort::cycle {

/// The sockets of one address that there are already, in the order of the kernel's group.
struct Group {
    std::vector<std::shared_ptr<Listener>> listeners;  ///< at least one
    bool fresh = false;  ///< opened for the cycle to be built: no other one has any of them
    [[nodiscard]] const Listener& first() const noexcept { return *listeners.front(); }
};

/// What a build takes instead of opening or making it, as far as the settings ask for it: of the
/// predecessor, of a process that has opened it on the master's behalf, or of another master.
struct Stock {
    std::vector<Group> groups;
    std::vector<SharedZone> zones;
    std::vector<SharedZone> made;  ///< zones that were made for the cycle to be built
    std::optional<Fd> log;         ///< of the settings' target; absent: opened by its name
    /// By the listener's place in the settings, where its names have been looked up already.
    std::map<std::size_t, Owner> owners = {};

    /// Adds a socket to the group of its address, or as a group of its own, which is then `fresh`
    /// or not.
    void add(std::shared_ptr<Listener> listener, bool fresh);
};

}  // namespace ringfort::cycle
