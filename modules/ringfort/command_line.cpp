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
    auto* testing =
        app.add_flag("-t,--test", test, "Test the configuration, addresses included, and exit");
    auto* printing =
        app.add_flag("-g,--print-config", print, "Print the effective configuration and exit");
    auto* signalling =
        app.add_option("-s,--signal", line.signal,
                       "Tell the running master: reload (new configuration), quit (drain),\n"
                       "stop (at once), reopen (log files)")
            ->check(CLI::IsMember({"reload", "quit", "stop", "reopen"}))
            ->type_name("ORDER");
    testing->excludes(printing)->excludes(signalling);
    printing->excludes(signalling);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 1;
    }
    if (!config.empty()) line.config = config;
    line.mode = test                  ? Mode::test
                : print               ? Mode::print
                : line.signal.empty() ? Mode::serve
                                      : Mode::signal;
    return line;
}

}  // namespace ringfort
