// The load program as a user starts it: what it prints, and its exit status.
#include <fmt/format.h>
#include <sys/wait.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "../temp_dir.h"
#include "faulty_server.hpp"

using bench::Fault;
using bench::FaultyServer;

namespace {

struct Outcome {
    int status;
    std::string output;  // of both streams
};

Outcome load(const std::string& arguments) {
    Outcome outcome{-1, {}};
    std::FILE* pipe = ::popen(fmt::format("{} {} 2>&1", BENCH_LOAD, arguments).c_str(), "r");
    if (pipe == nullptr) return outcome;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe))
        outcome.output += static_cast<char>(c);
    const int status = ::pclose(pipe);
    if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
    return outcome;
}

Outcome load_on(Fault fault, const std::string& arguments) {
    const FaultyServer server(fault);
    return load(fmt::format("127.0.0.1:{} --connections 4 --seconds 0.1 --warmup 0.02 {}",
                            server.port(), arguments));
}

bool says(const Outcome& outcome, const std::string& text) {
    return outcome.output.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("control: the load program's exit status tells clean from faulty from wrong usage") {
    CHECK(load_on(Fault::none, "").status == 0);
    CHECK(load_on(Fault::corrupt, "").status == 1);
    CHECK(load_on(Fault::refuse, "").status == 1);
    CHECK(load("").status == 2);
    CHECK(load("127.0.0.1:1 --mode sing").status == 2);
    CHECK(load_on(Fault::none, "--mode churn --depth 4").status == 2);
}

TEST_CASE("the load program names host and cause when it cannot start") {
    const Outcome unknown = load("no-such-host.invalid:80");
    CHECK(unknown.status == 2);
    CHECK(says(unknown, "no-such-host.invalid"));
    CHECK(says(load("127.0.0.1"), "is not HOST:PORT"));
    CHECK(says(load_on(Fault::refuse, ""), "is the server running?"));
    const Outcome many = load("127.0.0.1:1 --connections 16777216 --seconds 0.1");
    CHECK(many.status == 2);
    CHECK(says(many, "Raise the hard limit"));
}

TEST_CASE("the load program prints a table, or one line of JSON") {
    const Outcome table = load_on(Fault::none, "");
    CHECK(says(table, "latency us"));
    CHECK(says(table, "failures    none"));
    const Outcome json = load_on(Fault::corrupt, "--json");
    CHECK(json.output.starts_with("{"));
    CHECK(json.output.find('\n') + 1 == json.output.size());
    CHECK(says(json, "\"mismatched\":1"));
}

TEST_CASE("the load program resolves names") {
    const FaultyServer server(Fault::none);
    CHECK(load(fmt::format("localhost:{} --seconds 0.1", server.port())).status != 2);
}

TEST_CASE("the load program reports the CPU time of the processes it is told of") {
    CHECK(says(load_on(Fault::none, "--measure $$"), "server CPU"));
    CHECK(says(load_on(Fault::none, "--mode idle --measure $$"), "B resident"));
    CHECK(load_on(Fault::none, "--measure 4194305").status == 2);
}

TEST_CASE("the load program writes a plot, or says that it cannot") {
    const testing::TempDir directory;
    const std::string file = directory.file("plot.svg");
    CHECK(load_on(Fault::none, "--plot " + file).status == 0);
    std::ifstream plot{file};
    CHECK(std::string{std::istreambuf_iterator<char>(plot), {}}.starts_with("<svg "));
    const Outcome refused = load_on(Fault::none, "--plot " + directory.file("no/plot.svg"));
    CHECK(refused.status == 2);
    CHECK(says(refused, "no/plot.svg"));
}
