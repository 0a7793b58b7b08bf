// compare: our echo beside the plain epoll echo, in one run, slice by slice in turn.
// Exit status: 0 measured, 1 a server failed or it was interrupted, 2 wrong usage or set-up.
#include <fmt/format.h>
#include <signal.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cell.hpp"
#include "contestant.hpp"
#include "surroundings.hpp"

namespace {

using namespace std::chrono_literals;

volatile sig_atomic_t interrupted = 0;

struct Arguments {
    std::string echo;
    std::string epoll_echo;
    std::string directory;  // gets the configuration and the logs
    std::vector<std::uint32_t> connections{1, 50};
    std::vector<std::size_t> payloads{64, 4096};
    std::uint32_t depth = 1;
    std::uint32_t pairs = 10;
    double seconds = 2;
    bool quick = false;
    bool control = false;
};

/// The app under test: its master in the foreground, one worker, one listener.
bench::Launch launch_echo(const Arguments& arguments, int core) {
    const std::string configuration = arguments.directory + "/echo.toml";
    std::ofstream file(configuration);
    file << "[master]\nworkers = 1\n\n"
            "[[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"echo\"\n";
    file.close();
    if (!file) throw std::runtime_error("cannot write " + configuration);
    return {.name = "ringfort",
            .command = {arguments.echo, "-c", configuration},
            .log_file = arguments.directory + "/echo.log",
            .port_follows = "listening on 127.0.0.1:",
            .ready_word = "ready",
            .core = core};
}

bench::Launch launch_epoll_echo(const Arguments& arguments, const std::string& name, int core) {
    return {.name = name,
            .command = {arguments.epoll_echo, "0"},
            .log_file = arguments.directory + "/" + name + ".log",
            .port_follows = "listening ",
            .ready_word = "",
            .core = core};
}

void watch_for_interrupts() {
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGHUP, &action, nullptr);
}

void compare(const Arguments& arguments) {
    fmt::print("network:  {}\n", bench::enter_own_network());
    const bench::Cores cores = bench::pick_cores();
    if (cores.server == cores.load) {
        fmt::print("cores:    only one: server and load share it, so the figures say little\n");
    } else {
        fmt::print("cores:    servers on {}, load on {}\n", cores.server, cores.load);
    }
    std::fflush(stdout);
    bench::pin_to(cores.load);

    const bench::Contestant ours(arguments.control
                                     ? launch_epoll_echo(arguments, "epoll-too", cores.server)
                                     : launch_echo(arguments, cores.server));
    const bench::Contestant epoll(launch_epoll_echo(arguments, "epoll", cores.server));

    bench::CellOptions options;
    options.depth = arguments.depth;
    options.pairs = arguments.pairs;
    options.slice = std::chrono::milliseconds(static_cast<int>(arguments.seconds * 1000));
    options.cores = cores;
    options.interrupted = [] { return interrupted != 0; };
    for (const std::size_t payload : arguments.payloads) {
        for (const std::uint32_t connections : arguments.connections) {
            options.payload_bytes = payload;
            options.connections = connections;
            const bench::Cell cell = bench::run_cell(options, ours, epoll);
            fmt::print("{}", bench::to_table(options, cell));
            std::fflush(stdout);
        }
    }
}

void declare(CLI::App& app, Arguments& arguments) {
    app.add_option("--echo", arguments.echo, "Ringfort's echo app")->check(CLI::ExistingFile);
    app.add_option("--epoll-echo", arguments.epoll_echo, "the yardstick")
        ->required()
        ->check(CLI::ExistingFile);
    app.add_option("--directory", arguments.directory, "gets the configuration and the logs")
        ->required()
        ->check(CLI::ExistingDirectory);
    app.add_option("--connections", arguments.connections, "one row of cells each: \"1 50\"")
        ->delimiter(' ')
        ->check(CLI::Range(1U, 1'000'000U));
    app.add_option("--payload", arguments.payloads, "bytes of a request: \"64 4096\"")
        ->delimiter(' ')
        ->check(CLI::Range(1U, 16U * 1024 * 1024));
    app.add_option("--depth", arguments.depth, "requests in flight on each connection")
        ->check(CLI::Range(1U, 4096U));
    app.add_option("--pairs", arguments.pairs, "slices of each server in a cell")
        ->check(CLI::Range(1U, 1000U));
    app.add_option("--seconds", arguments.seconds, "length of a slice")
        ->check(CLI::Range(0.1, 3600.0));
    app.add_flag("--control", arguments.control,
                 "the yardstick beside itself: how far from 1 the ratio is by chance");
    app.add_flag("--quick", arguments.quick,
                 "3 pairs of 1 s, where --pairs and --seconds do not say otherwise");
}

}  // namespace

int main(int argc, char** argv) try {
    Arguments arguments;
    CLI::App app("Our echo beside a plain epoll echo, in one run.", "compare");
    declare(app, arguments);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    if (arguments.quick) {
        if (app.count("--pairs") == 0) arguments.pairs = 3;
        if (app.count("--seconds") == 0) arguments.seconds = 1;
    }
    if (!arguments.control && arguments.echo.empty()) {
        throw std::invalid_argument("--echo is missing");
    }
    watch_for_interrupts();
    compare(arguments);
    return 0;
} catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
}
