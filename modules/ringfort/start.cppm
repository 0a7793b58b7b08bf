export module ringfort:start;

import ringfort.base;
import ringfort.config;
import ringfort.std;

// Not exported: what the configuration says about the process itself, for its whole life.
namespace ringfort {

/// Makes the configured directory the working directory. Errors: those of chdir(2).
[[nodiscard]] Result<void> enter_working_directory(const config::Master& settings);

/// Returns why the program does not become a daemon though the configuration says so: whoever has
/// started it watches this very process. Nothing when there is no reason.
[[nodiscard]] std::optional<std::string> objection_to_daemon();

/// Says what of `wanted`, the configuration of a reload read from `file`, can only change with a
/// new start; no problem when all of it can.
[[nodiscard]] config::Problems changed_since_start(const config::Master& started,
                                                   const config::Master& wanted,
                                                   const std::string& file);

}  // namespace ringfort
