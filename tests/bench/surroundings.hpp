#pragma once
// Where the measuring happens: a network namespace of its own, a core for the server and another
// for the load.
#include <cstdint>
#include <string>

namespace bench {

/// Moves this process into a new network namespace with the loopback up and congestion control
/// reno, as far as that is possible. Returns what came of it, in a sentence for people.
[[nodiscard]] std::string enter_own_network();

/// The cores chosen: the same one twice when there is only one.
struct Cores {
    int server = 0;
    int load = 0;
};

/// Picks the first two cores this process may run on.
[[nodiscard]] Cores pick_cores();

/// Pins the calling thread, and what it starts later.
void pin_to(int core);

/// Returns how long the chosen cores have been idle since boot, added up; exact to 10 ms a core.
[[nodiscard]] std::uint64_t idle_ns(const Cores& cores);

}  // namespace bench
