module;
#include <memory>
#include <optional>
#include <vector>
export module ringfort.cycle:stock;

import ringfort.base;
import :listener;
import :zones;

export namespace ringfort::cycle {

/// A listener that there is already.
struct StockedListener {
    std::shared_ptr<Listener> listener;
    bool fresh = false;  ///< opened for the cycle to be built: no other one has it
};

/// What a build takes instead of opening or making it, as far as the settings ask for it: of the
/// predecessor, of a process that has opened it on the master's behalf, or of another master.
struct Stock {
    std::vector<StockedListener> listeners;
    std::vector<SharedZone> zones;
    std::optional<Fd> log;  ///< of the settings' target; absent: opened by its name
};

}  // namespace ringfort::cycle
