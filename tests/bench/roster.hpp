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
    std::uint32_t workers = 1;        ///< of ours
    std::string driver = "io_uring";  ///< of ours
};

/// One server of the benchmark. One without a command is known, but not built or not installed.
struct Entry {
    enum class Form : std::uint8_t {
        ours,     ///< an app of the framework, with a configuration that is written for it
        contract  ///< prints "listening PORT"; the command has @PORT@ and @UPSTREAM_PORT@
    };
    std::string name;
    Kind kind = Kind::echo;
    Form form = Form::contract;
    std::vector<std::string> command = {};
};

/// Returns every server, ours first of its kind: ours, and those that the build directory lists in
/// tests/bench/contestants/contestants.txt ("KIND|NAME|PROGRAM|ARGUMENT..." a line); those that are
/// not there without a command.
[[nodiscard]] std::vector<Entry> roster(const Site& site);
/// Returns the names of all that a complete run has besides ours.
[[nodiscard]] std::vector<std::string> peers_of(Kind kind);
/// Returns only the yardstick, twice: what chance makes of a ratio.
[[nodiscard]] std::vector<Entry> control_roster(const Site& site);

/// Returns how to start `entry`, or nothing when it is not there. Writes its configuration. Throws
/// std::runtime_error when that cannot be written.
[[nodiscard]] std::optional<Launch> launch_of(const Entry& entry, const Site& site);

/// Returns how to start the echo behind the relays.
[[nodiscard]] Launch upstream_launch(const Site& site);

}  // namespace bench
