#pragma once
// Where the measuring happens: a network namespace of its own, a core for the server and another
// for the load.
#include <string>

namespace bench {

/// Moves this process into a new network namespace with the loopback up and congestion control
/// reno, as far as that is possible. Returns what came of it, in a sentence for people.
[[nodiscard]] std::string enter_own_network();

/// The cores chosen: equal and -1 when there are not two to choose from.
struct Cores {
    int server = -1;
    int load = -1;
};

/// Picks the first two cores this process may run on.
[[nodiscard]] Cores pick_cores();

/// Pins the calling thread, and what it starts later; -1 leaves it as it is.
void pin_to(int core);

}  // namespace bench
