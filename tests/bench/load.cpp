// load: drives one echo server and prints one line of JSON.
// Exit status: 0 every byte came back, 1 something was lost or wrong, 2 wrong usage or set-up.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include "generator.hpp"

int main(int argc, char** argv) try {
    bench::LoadOptions load;
    auto seconds = 1U;
    auto warmup_ms = 200U;
    auto timeout_ms = 5000U;
    CLI::App app("Drives an echo server with closed loops and checks every byte.", "load");
    app.add_option("--host", load.host, "IPv4 address of the server");
    app.add_option("--port", load.port, "its TCP port")->required();
    app.add_option("--connections", load.connections, "closed loops")
        ->check(CLI::Range(1U, 1'000'000U));
    app.add_option("--payload", load.payload_bytes, "bytes of one request")
        ->check(CLI::Range(1U, 16U * 1024 * 1024));
    app.add_option("--depth", load.depth, "requests in flight on each connection")
        ->check(CLI::Range(1U, 4096U));
    app.add_option("--seconds", seconds, "length of the counted window")
        ->check(CLI::Range(1U, 3600U));
    app.add_option("--warmup-ms", warmup_ms, "before it")->check(CLI::Range(0U, 3'600'000U));
    app.add_option("--timeout-ms", timeout_ms, "for a connect, an answer and the final close")
        ->check(CLI::Range(1U, 3'600'000U));
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    load.duration = std::chrono::seconds(seconds);
    load.warmup = std::chrono::milliseconds(warmup_ms);
    load.timeout = std::chrono::milliseconds(timeout_ms);

    const bench::LoadReport report = bench::run_load(load);
    std::printf("%s\n", bench::to_json(load, report).c_str());
    return report.clean() ? 0 : 1;
} catch (const std::exception& error) {
    std::fprintf(stderr, "load: %s\n", error.what());
    return 2;
}
