#pragma once
// Where the measuring happens: a network namespace of its own, a core for the server and another
// for the load.
#include <cstdint>
#include <string>

namespace bench {

/// Moves this process into a new network namespace with the loopback up, congestion control reno
/// and ports that can be used again at once, as far as that is possible. Returns what came of it,
/// in a sentence for people.
[[nodiscard]] std::string enter_own_network();

/// The cores chosen: the same one several times when there are fewer.
struct Cores {
    int server = 0;
    int load = 0;
    int upstream = 0;  ///< of the echo behind a relay: with two cores, the load's
};

/// Picks the first three cores this process may run on.
[[nodiscard]] Cores pick_cores();

/// Pins the calling thread, and what it starts later.
void pin_to(int core);

/// Returns how long the chosen cores have been idle since boot, added up; exact to 10 ms a core.
[[nodiscard]] std::uint64_t idle_ns(const Cores& cores);

}  // namespace bench
