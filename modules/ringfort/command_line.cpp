module;
#include <fmt/format.h>
#include <liburing/io_uring_version.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
module ringfort;

namespace ringfort {
namespace {

/// What `ctl` takes beside the order.
struct ControlArguments {
    std::string level;
    std::string socket;
    std::string file;
    bool dry_run = false;
};

CLI::App* add_control(CLI::App& app, CommandLine& line, ControlArguments& ordered) {
    auto* control = app.add_subcommand("ctl",
                                       "Give the running master an order: status, ready, zones, "
                                       "reload, upgrade,\nreopen, log-level, quit (drain) or stop "
                                       "(at once); and wait for its answer");
    control->fallthrough();
    control
        ->add_option("order", line.order,
                     "status, ready (fails unless it is to be counted on), zones, reload, upgrade\n"
                     "(to a new binary), reopen, log-level, quit (drain) or stop (at once)")
        ->required()
        ->type_name("ORDER");
    control
        ->add_option("level", ordered.level,
                     "With log-level: debug, info, warning or error, until the next reload;\n"
                     "or configured")
        ->type_name("LEVEL");
    control->add_flag("--dry-run", ordered.dry_run,
                      "With reload: say what would change, and change nothing");
    control
        ->add_option("--file", ordered.file,
                     "With zones: say what is in a zone that was saved to this file, or is\n"
                     "/proc/PID/fd/N; no master is asked")
        ->type_name("FILE");
    control
        ->add_option("--socket", ordered.socket, "The master's control socket; else as configured")
        ->type_name("FILE");
    return control;
}

}  // namespace

std::variant<CommandLine, int> read_command_line(std::string_view name,
                                                 std::string_view description, int argc,
                                                 char** argv) {
    CommandLine line;
    std::string config;
    bool test = false;
    bool print = false;
    CLI::App app{std::string{description}, std::string{name}};
    app.set_version_flag(
        "-V,--version",
        fmt::format("{} on Ringfort {} (clang {}.{}.{}, liburing {}.{})", name, RINGFORT_VERSION,
                    __clang_major__, __clang_minor__, __clang_patchlevel__, IO_URING_VERSION_MAJOR,
                    IO_URING_VERSION_MINOR));
    app.add_option("-c,--config", config, "Read the configuration from this file")
        ->type_name("FILE");
    app.add_option("--set", line.overrides,
                   "Have this in place of what the configuration says, as log.level=debug;\n"
                   "any number of times")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false)
        ->check([](const std::string& text) {
            return text.find('\n') == text.npos ? "" : "a line break has no place in KEY=VALUE";
        });
    auto* testing =
        app.add_flag("-t,--test", test, "Test the configuration, addresses included, and exit");
    app.add_flag("-q,--quiet", line.quiet, "With -t: print errors only")->needs(testing);
    auto* single = app.add_flag("--single", line.single,
                                "Serve in one process, without a master: for debuggers");
    auto* printing =
        app.add_flag("-g,--print-config", print, "Print the effective configuration and exit");
    auto* signalling =
        app.add_option("-s,--signal", line.signal,
                       "Tell the running master: reload (new configuration), quit (drain),\n"
                       "stop (at once), reopen (log files), upgrade (to a new binary)")
            ->check(CLI::IsMember({"reload", "quit", "stop", "reopen", "upgrade"}))
            ->type_name("ORDER");
    ControlArguments ordered;
    auto* control = add_control(app, line, ordered);
    control->excludes(testing)->excludes(printing)->excludes(signalling)->excludes(single);
    single->excludes(testing)->excludes(printing)->excludes(signalling);
    testing->excludes(printing)->excludes(signalling);
    printing->excludes(signalling);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 1;
    }
    if (!config.empty()) line.config = config;
    if (!ordered.socket.empty()) line.socket = ordered.socket;
    line.zone_file = ordered.file;
    if (!line.zone_file.empty() && line.order != "zones") {
        fmt::print(stderr, "--file goes with ctl zones only\n");
        return 1;
    }
    if (!ordered.level.empty()) line.order += " " + ordered.level;
    if (ordered.dry_run) line.order += " --dry-run";
    line.mode = control->parsed()     ? Mode::control
                : test                ? Mode::test
                : print               ? Mode::print
                : line.signal.empty() ? Mode::serve
                                      : Mode::signal;
    return line;
}

}  // namespace ringfort
