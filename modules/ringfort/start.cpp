module;
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
module ringfort;

import ringfort.base;
import ringfort.config;

namespace ringfort {

Result<void> enter_working_directory(const config::Master& settings) {
    if (settings.working_directory.empty()) return {};
    if (::chdir(settings.working_directory.c_str()) != 0) return Error::last("chdir");
    return {};
}

std::optional<std::string> objection_to_daemon() {
    for (const char* variable : {"NOTIFY_SOCKET", "LISTEN_FDS"})
        if (std::getenv(variable) != nullptr)
            return fmt::format(
                "master.daemon has no effect under a service manager ({} is set), which watches "
                "this very process",
                variable);
    return {};
}

config::Problems changed_since_start(const config::Master& started, const config::Master& wanted,
                                     const std::string& file) {
    config::Problems problems;
    const auto add = [&](std::string_view key) {
        problems.list.push_back(
            {.file = file,
             .message = fmt::format("`{}` cannot change while the server runs", key),
             .snippet = {},
             .help = "leave it as it was, or stop the server and start it anew",
             .notes = {}});
    };
    if (started.daemon != wanted.daemon) add("master.daemon");
    if (started.working_directory != wanted.working_directory) add("master.working_directory");
    return problems;
}

}  // namespace ringfort
