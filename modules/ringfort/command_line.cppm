export module ringfort:command_line;

import ringfort.std;

// Not exported: how the program was called.
namespace ringfort {

enum class Mode { serve, test, print, signal, control };

struct CommandLine {
    Mode mode = Mode::serve;
    bool single = false;                 ///< --single: serve in this very process
    bool quiet = false;                  ///< -q: with -t, no word of success
    std::optional<std::string> config;   ///< -c FILE
    std::vector<std::string> overrides;  ///< --set KEY=VALUE
    std::string signal;                  ///< -s: reload, quit, stop or reopen
    std::string order;                   ///< of ctl
    std::optional<std::string> socket;   ///< of ctl: --socket FILE
    std::string zone_file;               ///< of ctl zones: --file FILE
};

/// Reads the command line. Where nothing remains to be done (--help, -V, a mistake), everything was
/// printed and the exit code comes back.
[[nodiscard]] std::variant<CommandLine, int> read_command_line(std::string_view name,
                                                               std::string_view description,
                                                               int argc, char** argv);

}  // namespace ringfort
