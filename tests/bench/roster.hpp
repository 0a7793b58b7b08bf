#pragma once
// Who takes part: every server of the benchmark, where its program is and how it is started.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "contestant.hpp"
#include "matrix.hpp"
#include "surroundings.hpp"

namespace bench {

/// Where programs are found, and where what a run writes goes.
struct Site {
    std::string build;      ///< the build directory
    std::string directory;  ///< gets configurations and logs
    Cores cores;
    std::uint16_t upstream_port = 0;  ///< relays: where they connect to
};

/// One server of the table.
struct Entry {
    /// How its port and its upstream are said.
    enum class Form : std::uint8_t {
        plain,   ///< PROGRAM PORT [variant], or PROGRAM PORT UPSTREAM_PORT: prints "listening PORT"
        ours,    ///< an app of the framework, with a configuration
        nginx,   ///< with a configuration of its own
        haproxy  ///< likewise
    };
    std::string name;
    Kind kind;
    Form form;
    std::vector<std::string> programs;  ///< below the build directory, or on PATH; the first found
    std::string variant = {};
};

/// Every server, ours first of its kind.
[[nodiscard]] std::vector<Entry> roster();
/// Only the yardstick, twice: what chance makes of a ratio.
[[nodiscard]] std::vector<Entry> control_roster();

/// Returns how to start `entry`, or nothing when it is not built or not installed. Writes its
/// configuration. Throws std::runtime_error when that cannot be written.
[[nodiscard]] std::optional<Launch> launch_of(const Entry& entry, const Site& site);

/// Returns how to start the echo behind the relays.
[[nodiscard]] Launch upstream_launch(const Site& site);

}  // namespace bench
