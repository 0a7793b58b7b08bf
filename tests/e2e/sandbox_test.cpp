// Workers that gave up what they do not need, and what becomes of those who try nevertheless.
#include <linux/landlock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "processes.h"
#include "server.h"
#include "upstream.h"

namespace e2e {
namespace {

using Answers = std::map<std::string, std::string>;

/// Returns the version of the kernel's Landlock, 0 without one.
long landlock() {
    return ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0},
                     LANDLOCK_CREATE_RULESET_VERSION);
}

std::string ask(Connection& worker, const std::string& what) {
    worker.send(what + "\n");
    std::string answer;
    do answer += worker.receive(1);
    while (!answer.ends_with('\n'));
    answer.pop_back();
    return answer;
}

/// Has a worker try everything; returns what it heard.
Answers ask(Server& server, const std::vector<std::string>& all) {
    Connection worker = Connection::to(server.at("escape"));
    Answers answers;
    for (const std::string& what : all) answers[what] = ask(worker, what);
    return answers;
}

/// Returns what the environment has servers use; empty when it does not.
std::string driver() {
    const char* const name = std::getenv("RINGFORT_DRIVER");
    return name == nullptr ? "" : name;
}

std::string text(const Answers& answers) {
    std::string out;
    for (const auto& [what, answer] : answers) out += what + ": " + answer + "\n";
    return out;
}

Config escaping() {
    Config config;
    config.workers = 1;
    config.listeners = {{.address = "127.0.0.1:0", .service = "escape"}};
    return config;
}

void answer_everybody(Connection& peer) {
    (void)peer.receive_to_end();
}

/// A folder that every user may enter, with a file that every user may read.
struct Place {
    TempDir dir;
    std::string file = dir.file("file");
    Place() {
        write_file(file, "text");
        REQUIRE(::chmod(file.c_str(), 0644) == 0);
        REQUIRE(::chmod(dir.path().c_str(), 0777) == 0);
    }
};

void check_powerless(const Server& server, const std::vector<pid_t>& workers) {
    const std::string none = "0000000000000000";
    for (const pid_t worker : workers) {
        for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"})
            CHECK(status_of(worker, set) == none);
        if (::geteuid() == 0) CHECK(status_of(worker, "CapBnd") == none);
        CHECK(status_of(worker, "NoNewPrivs") == "1");
        CHECK(status_of(worker, "Seccomp") == "2");
    }
    CHECK(status_of(server.master(), "Seccomp") == status_of(::getpid(), "Seccomp"));
}

TEST_CASE("a worker in its sandbox has no capability, cannot gain one, and is filtered") {
    const TempDir dir;
    SECTION("echo, with the master's user") {
        Server server{echo_app(), Config{}, dir};
        check_powerless(server, server.wait_workers(2));
        Connection::to(server.at("echo")).echo("hello");
        static_cast<void>(server.reload());
        check_powerless(server, server.wait_workers(2));
        Connection::to(server.at("echo")).echo("hello");
    }
    SECTION("proxy, with a user of its own") {
        if (::geteuid() != 0) SKIP("only root can become another user");
        Upstream upstream{echo_back};
        Config config;
        config.user = "nobody";
        config.listeners = {{.address = "127.0.0.1:0", .service = "proxy"}};
        config.upstreams = {upstream.endpoint().text()};
        Server server{proxy_app(), config, dir};
        check_powerless(server, server.wait_workers(2));
        Connection::to(server.at("proxy")).echo("hello");
    }
}

TEST_CASE("what a worker must not do is refused, to system calls and to the ring") {
    const Place place;
    const TempDir dir;
    Upstream upstream{answer_everybody};
    const std::string there = upstream.endpoint().text();
    const std::string fresh = place.dir.file("new");
    std::vector<std::string> all{"open " + place.file,
                                 "ring-open " + place.file,
                                 "make " + fresh,
                                 "ring-make " + fresh,
                                 "remove " + place.file,
                                 "connect " + there,
                                 "ring-connect " + there,
                                 "bind",
                                 "udp",
                                 "exec",
                                 "signal",
                                 "ring",
                                 "unshare",
                                 "executable",
                                 "chdir",
                                 "setuid"};
#ifndef RINGFORT_E2E_SANITIZED
    all.insert(all.end(), {"fork", "ptrace"});  // which the search for leaks does itself
#endif
    Config config = escaping();
    {
        Server server{escape_app(), config, dir};
        const Answers refused = ask(server, all);
        INFO(text(refused));
        for (const auto& [what, answer] : refused) CHECK((answer == "EPERM" || answer == "EACCES"));
        CHECK_FALSE(std::filesystem::exists(fresh));
        CHECK(std::filesystem::exists(place.file));
        CHECK(upstream.accepted() == 0);
    }
    // Outside a sandbox the same goes through, so that nothing above is refused for another reason.
    config.more = "[sandbox]\nmode = \"off\"\n";
    Server server{escape_app(), config, dir};
    const Answers done = ask(server, all);
    INFO(text(done));
    for (const auto& [what, answer] : done) {
        if (what == "ring") continue;  // the machine may refuse that by itself
        CHECK((answer == "ok" || answer == "ENOENT" || answer == "ESRCH"));
    }
    CHECK(eventually(soon(), [&] { return upstream.accepted() == 2; }));
    CHECK_FALSE(std::filesystem::exists(place.file));
}

TEST_CASE("what the configuration allows may be reached, and nothing beside it") {
    if (landlock() < 4) SKIP("this kernel's Landlock knows no ports");
    const Place readable;
    const Place writable;
    const Place other;
    const TempDir dir;
    Upstream upstream{answer_everybody};
    Upstream other_upstream{answer_everybody};
    const std::string there = upstream.endpoint().text();
    const std::string elsewhere = other_upstream.endpoint().text();
    Config config = escaping();
    config.more = "[sandbox]\nread = [\"" + readable.dir.path().string() + "\"]\nwrite = [\"" +
                  writable.dir.path().string() + "\"]\nconnect_ports = [" +
                  std::to_string(upstream.endpoint().port()) + "]\n";
    if (::geteuid() == 0) config.user = "nobody";
    Server server{escape_app(), config, dir};
    Connection worker = Connection::to(server.at("escape"));
    for (const std::string ring : {"", "ring-"}) {
        CAPTURE(ring);
        CHECK(ask(worker, ring + "open " + readable.file) == "ok");
        CHECK(ask(worker, ring + "make " + writable.dir.file(ring + "new")) == "ok");
        CHECK(ask(worker, ring + "connect " + there) == "ok");
        CHECK(ask(worker, ring + "open " + other.file) == "EACCES");
#ifndef RINGFORT_E2E_SANITIZED
        CHECK(ask(worker, ring + "open /proc/self/status") == "EACCES");
#endif
        CHECK(ask(worker, ring + "make " + readable.dir.file("new")) == "EACCES");
        CHECK(ask(worker, ring + "connect " + elsewhere) == "EACCES");
    }
    CHECK(ask(worker, "remove " + writable.dir.file("new")) == "ok");
    CHECK(ask(worker, "remove " + readable.file) == "EACCES");
    CHECK(ask(worker, "bind") == "EPERM");
    CHECK(eventually(soon(), [&] { return upstream.accepted() == 2; }));
    CHECK(other_upstream.accepted() == 0);
}

TEST_CASE("what a service says that it reaches is allowed without a word in [sandbox]") {
    if (landlock() < 4) SKIP("this kernel's Landlock knows no ports");
    const Place place;
    const Place other;
    const TempDir dir;
    Upstream upstream{answer_everybody};
    Upstream other_upstream{answer_everybody};
    Config config = escaping();
    config.more = "[service.escape]\nreach = [\"" + upstream.endpoint().text() + "\"]\nfile = \"" +
                  place.file + "\"\n";
    Server server{escape_app(), config, dir};
    Connection worker = Connection::to(server.at("escape"));
    for (const std::string ring : {"", "ring-"}) {
        CHECK(ask(worker, ring + "connect " + upstream.endpoint().text()) == "ok");
        CHECK(ask(worker, ring + "connect " + other_upstream.endpoint().text()) == "EACCES");
        CHECK(ask(worker, ring + "open " + place.file) == "ok");
        CHECK(ask(worker, ring + "open " + other.file) == "EACCES");
    }
}

TEST_CASE("a worker on epoll has no call of io_uring left, one on io_uring has what it needs") {
    const TempDir dir;
    Config config = escaping();
    Server server{escape_app(), config, dir};
    const bool soft =
        server.log().text().find("no io_uring") != std::string::npos || driver() == "epoll";
    CHECK(ask(server, {"enter"}).at("enter") == (soft ? "EPERM" : "EBADF"));
}

TEST_CASE("services exchange datagrams where the configuration allows it") {
    const TempDir dir;
    Config config = escaping();
    {
        Server server{escape_app(), config, dir};
        CHECK(ask(server, {"datagrams"}).at("datagrams") == "EPERM");
    }
    config.more = "[sandbox]\ndatagrams = true\n";
    Server server{escape_app(), config, dir};
    CHECK(ask(server, {"datagrams"}).at("datagrams") == "arrived");
    CHECK(ask(server, {"bind"}).at("bind") == "EPERM");  // that is for TCP
}

TEST_CASE(
    "a path of the sandbox that is not there is an error with its name, and changes nothing") {
    if (landlock() < 1) SKIP("this kernel has no Landlock");
    const TempDir dir;
    Config config;
    config.more = "[sandbox]\nread = [\"" + dir.file("missing") + "\"]\n";
    write_file(dir.file("bad.toml"), config.text());
    const Finished started = run({echo_app(), "-c", dir.file("bad.toml")});
    INFO(started.text());
    CHECK(started.code == 1);
    CHECK(started.error.find(dir.file("missing") + ": open: No such file") != std::string::npos);

    Server server{echo_app(), Config{}, dir};
    server.write_config(config.text());
    CHECK(server.reload_expecting_failure().find("ended before it was ready") != std::string::npos);
    Connection::to(server.at("echo")).echo("hello");
}

/// The search for leaks needs /proc, and calls that containers do not have.
bool search_no_leaks() {
    return ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1) == 0;
}

TEST_CASE("workers in a root directory of their own see nothing else, and serve, log and reload") {
    if (::geteuid() != 0) SKIP("only root can change a root directory");
    const Place root;
    const TempDir dir;
    Config config = escaping();
    config.user = "nobody";
    config.log_target = dir.file("log");
    config.more = "[sandbox]\nchroot = \"" + root.dir.path().string() + "\"\nread = [\"/file\"]\n";
    Server server{escape_app(), config, dir, search_no_leaks};
    const pid_t pid = server.wait_workers(1)[0];
    CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/root") ==
          root.dir.path());
    CHECK(ask(server, {"open /file"}).at("open /file") == "ok");
    CHECK(ask(server, {"open /etc/passwd"}).at("open /etc/passwd") == "ENOENT");
    CHECK(ask(server, {"open " + root.file}).at("open " + root.file) == "ENOENT");
    std::filesystem::rename(dir.file("log"), dir.file("log.1"));
    server.signal(SIGUSR1);
    LogFile{dir.file("log")}.wait_for("logs reopened");
    static_cast<void>(server.reload());
    CHECK(ask(server, {"open /file"}).at("open /file") == "ok");
}

TEST_CASE("a worker whose refusals kill ends by SIGSYS at the first, and is replaced") {
    const TempDir dir;
    Config config = escaping();
    config.respawn_backoff_min_ms = 1;
    config.more = "[sandbox]\nrefusal = \"kill\"\n";
    Server server{escape_app(), config, dir};
    const pid_t victim = server.wait_workers(1)[0];
    Connection worker = Connection::to(server.at("escape"));
    worker.send("chdir\n");
    (void)worker.wait_gone();
    server.log().wait_for("(pid " + std::to_string(victim) +
                          ") of generation 1 killed by signal 31 (SIGSYS)");
    CHECK(eventually(soon(), [&] {
        const auto now = server.workers();
        return now.size() == 1 && now[0] != victim;
    }));
    CHECK(ask(server, {"nothing"}).at("nothing") == "unknown");
}

}  // namespace
}  // namespace e2e
