#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "child.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "log_file.h"
#include "temp_dir.h"

namespace e2e {
namespace {

/// Returns the README's configuration with a port that the kernel picks.
std::string configuration() {
    constexpr std::string_view port = "127.0.0.1:7000";
    std::string text = read_file(README_TOML);
    const auto at = text.find(port);
    REQUIRE(at != text.npos);
    return text.replace(at, port.size(), "127.0.0.1:0");
}

Endpoint listener(std::string_view line) {
    constexpr std::string_view before = "listening on ";
    const auto begin = line.find(before) + before.size();
    return Endpoint::parse(line.substr(begin, line.find(' ', begin) - begin));
}

TEST_CASE("the server of README.md serves with its configuration, reloads and ends") {
    const TempDir dir;
    write_file(dir.file("server.toml"), configuration());
    Child server{
        {.argv = {README_SERVER, "-c", dir.file("server.toml")}, .error_path = dir.file("log")}};
    LogFile log{dir.file("log")};
    Connection peer = Connection::to(listener(log.wait_for("listening on ", 0, later())), later());
    peer.echo("hi\n", later());
    peer.close();

    server.signal(SIGHUP);
    CHECK_NOTHROW(log.wait_for("reload: generation 2 serves", 0, later()));
    Connection next = Connection::to(listener(log.wait_for("listening on ")), later());
    next.echo("hi again\n", later());
    next.shutdown_write();
    next.expect_end(later());

    server.signal(SIGTERM);
    const auto status = server.wait(later());
    INFO(log.text());
    REQUIRE(status);
    CHECK(status->code() == 0);
}

TEST_CASE("the server of README.md finds its configuration good and answers --help") {
    const TempDir dir;
    write_file(dir.file("server.toml"), configuration());
    const Finished tested = run({README_SERVER, "-t", "-c", dir.file("server.toml")}, "", later());
    INFO(tested.text());
    CHECK(tested.code == 0);
    CHECK(run({README_SERVER, "--help"}, "", later()).code == 0);
}

}  // namespace
}  // namespace e2e
