// Workers as another user than the master.
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <filesystem>
#include <sstream>
#include <string>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "log_file.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

TEST_CASE("workers run as master.user without any privilege, and still serve and log") {
    if (::geteuid() != 0) SKIP("only root can become another user");
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.user = "nobody";
    config.log_target = dir.file("log");
    Server server{app, config, dir};
    const std::string root = "0 0 0 0";
    CHECK(status_of(server.master(), "Uid") == root);
    for (const pid_t worker : server.wait_workers(2)) {
        CHECK(status_of(worker, "Uid").find(" 0 ") == std::string::npos);
        CHECK(status_of(worker, "Uid") != root);
        CHECK(status_of(worker, "Gid") != root);
        CHECK(status_of(worker, "Groups") != "0");
        CHECK(status_of(worker, "CapEff") == "0000000000000000");
        CHECK(status_of(worker, "CapPrm") == "0000000000000000");
        CHECK(status_of(worker, "NoNewPrivs") == "1");
    }
    Connection::to(server.at("echo")).echo("hello");

    // The workers cannot open the log themselves: they get it from the master.
    std::filesystem::rename(dir.file("log"), dir.file("log.1"));
    server.signal(SIGUSR1);
    LogFile log{dir.file("log")};
    log.wait_for("logs reopened");
    const int generation = server.reload();
    CHECK(generation == 2);
    log.wait_for("draining");
    Connection::to(server.at("echo")).echo("hello");
}

TEST_CASE("a worker makes its ring while it has the privilege to lock memory, and then drops it") {
    if (::geteuid() != 0) SKIP("only root can become another user");
    if (::syscall(SYS_io_uring_setup, 0, nullptr) < 0 && errno != EFAULT) SKIP("no io_uring here");
    if (::prctl(PR_CAPBSET_READ, CAP_IPC_LOCK, 0, 0, 0) != 1) SKIP("its rings are charged here");
    const TempDir dir;
    Config config;
    config.user = "nobody";  // who may lock nothing
    config.more = "\n[sandbox]\nmode = \"off\"\n\n[worker]\ndriver = \"io_uring\"\n";
    Server server{echo_app(), config, dir, [] {
                      const rlimit none{};
                      return ::setrlimit(RLIMIT_MEMLOCK, &none) == 0;
                  }};
    for (const pid_t worker : server.wait_workers(2))
        CHECK(status_of(worker, "CapEff") == "0000000000000000");
    Connection::to(server.at("echo")).echo("hello");
}

TEST_CASE("a user that does not exist is refused by -t, at the start and at a reload") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    Server server{app, config, dir};
    config.user = "no-such-user";
    server.write_config(config.text());
    CHECK(server.reload_expecting_failure().find("no-such-user") != std::string::npos);
    Connection::to(server.at("echo")).echo("hello");
    const Finished tested = run({app, "-t", "-c", server.config_path()});
    CHECK(tested.code == 1);
    CHECK(tested.error.find("no-such-user") != std::string::npos);
}

}  // namespace
}  // namespace e2e
