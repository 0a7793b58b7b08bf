// Proves with shell scripts that keep or break the contract that Server notices what is left over.
#include <signal.h>
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <string>

#include "child.h"
#include "config.h"
#include "deadline.h"
#include "files.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

std::string script(const TempDir& dir, const std::string& body) {
    const std::string path = dir.file("app");
    write_file(path, "#!/bin/sh\n" + body);
    ::chmod(path.c_str(), 0700);
    return path;
}

const std::string polite =
    "trap 'kill $worker; exit 0' TERM\n"
    "trap 'echo reload: generation 2 serves >&2' HUP\n"
    "name=\"${0%/*}/app: worker 0\"\n"  // by which a worker is told
    "ln -s \"$(command -v sleep)\" \"$name\"\n"
    "\"$name\" 1000 & worker=$!\n"
    "echo 'ready: generation 1, 1 workers' >&2\n"
    "while true; do wait; done\n";

TEST_CASE("harness: a server that is ready, reloads and ends passes") {
    const TempDir dir;
    Server server{script(dir, polite), {}, dir};
    CHECK(server.wait_workers(1).size() == 1);
    CHECK(server.reload() == 2);
    CHECK(server.workers().size() == 1);
}

TEST_CASE("harness: a server that never gets ready, or exits, is an error with its log") {
    const TempDir dir;
    const std::string app = script(dir, "echo 'cannot: reason' >&2; exit 1\n");
    try {
        Server server{app, {}, dir};
        FAIL("was taken for ready");
    } catch (const std::runtime_error& error) {
        CHECK(std::string{error.what()}.find("cannot: reason") != std::string::npos);
    }
}

TEST_CASE("harness: a failed reload is told from a good one") {
    const TempDir dir;
    const std::string app = script(dir,
                                   "trap 'exit 0' TERM\n"
                                   "trap 'echo reload failed: why >&2' HUP\n"
                                   "echo 'ready: generation 1, 1 workers' >&2\n"
                                   "while true; do sleep 0.05; done\n");
    Server server{app, {}, dir};
    CHECK_THROWS(server.reload());
    CHECK(server.reload_expecting_failure().find("why") != std::string::npos);
}

/// Runs the hidden test `name` in a process of its own and returns whether it failed.
bool fails(const std::string& name) {
    const Finished finished = run({"/proc/self/exe", name}, "", later());
    INFO(finished.text());
    CHECK(finished.text().find("1 failed") != std::string::npos);
    return finished.code != 0 && finished.code != -1;
}

TEST_CASE("broken: a worker outlives its master", "[.]") {
    const TempDir dir;
    const Server server{script(dir,
                               "trap 'exit 0' TERM\n"
                               "sleep 1000 &\n"
                               "echo 'ready: generation 1, 1 workers' >&2\n"
                               "wait\n"),
                        {},
                        dir};
}
TEST_CASE("broken: a master that exits with 3", "[.]") {
    const TempDir dir;
    const Server server{script(dir,
                               "trap 'kill $worker; exit 3' TERM\n"
                               "sleep 1000 & worker=$!\n"
                               "echo 'ready: generation 1, 1 workers' >&2\n"
                               "wait\n"),
                        {},
                        dir};
}
TEST_CASE("broken: a sanitizer's complaint", "[.]") {
    const TempDir dir;
    const Server server{
        script(dir, "echo 'ERROR: AddressSanitizer: heap' >&2\n" + polite), {}, dir};
}
TEST_CASE("broken: a socket file that stays", "[.]") {
    if (!installed("nc")) SKIP("nc is not installed");
    const TempDir dir;
    const std::string path = dir.file("left");
    const Server server{
        script(dir, "nc -lkU " + path + " & worker=$!\n" + "while ! test -S " + path +
                        "; do sleep 0.01; done\n" + "echo 'listening on unix:" + path +
                        " (service echo)' >&2\n" +
                        "trap 'kill $worker; exit 0' TERM\n"
                        "echo 'ready: generation 1, 1 workers' >&2\n"
                        "wait\n"),
        {},
        dir};
}

TEST_CASE("harness: what a stopped server leaves behind fails the test") {
    CHECK(fails("broken: a worker outlives its master"));
    CHECK(fails("broken: a master that exits with 3"));
    CHECK(fails("broken: a sanitizer's complaint"));
    if (installed("nc")) CHECK(fails("broken: a socket file that stays"));
}

}  // namespace
}  // namespace e2e
