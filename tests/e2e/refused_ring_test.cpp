// What a server says where io_uring is forbidden: most containers.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <utility>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "io_uring.h"
#include "server.h"

namespace e2e {
namespace {

/// Refuses io_uring_setup with EPERM as the default profiles of Docker and containerd do.
bool forbid_io_uring() {
    ::unsetenv("RINGFORT_DRIVER");  // what the machine allows is to decide
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{4, filter};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// Starts the echo server where io_uring is forbidden; returns what it said and its exit code.
std::pair<std::string, int> start_without_io_uring(const std::string& worker_table) {
    const std::string app = echo_app();
    const TempDir dir;
    write_file(dir.file("config.toml"), Config{}.text() + worker_table);
    Child server{{.argv = {app, "-c", dir.file("config.toml")},
                  .error_path = dir.file("err"),
                  .before_exec = forbid_io_uring}};
    const auto status = server.wait();
    REQUIRE(status);
    return {read_file(dir.file("err")), status->code()};
}

TEST_CASE("a server told to use io_uring where seccomp forbids it exits 1 with cause and remedy") {
    const auto [said, code] = start_without_io_uring("[worker]\ndriver = \"io_uring\"\n");
    INFO(said);
    CHECK(code == 1);
    CHECK(said.find("io_uring") != std::string::npos);
    CHECK(said.find("seccomp") != std::string::npos);
    CHECK(said.find("--security-opt") != std::string::npos);  // Docker's way to allow it
}

TEST_CASE("where seccomp forbids io_uring a server warns and serves by epoll") {
    const TempDir dir;
    Server server{echo_app(), Config{}, dir, forbid_io_uring};
    Connection::to(server.at("echo")).echo("hello");
    const std::string said = read_file(server.error_path());
    const std::string warning = "no io_uring, so epoll is used";
    CHECK(said.find(warning) != std::string::npos);
    CHECK(said.find(warning) == said.rfind(warning));  // once, and not by each of two workers
    CHECK(said.find("--security-opt") != std::string::npos);
}

TEST_CASE("the warning comes once in a generation, whoever dies, and in a single process, too") {
    const std::string warning = "no io_uring, so epoll is used";
    {
        const TempDir dir;
        Server server{echo_app(), Config{}, dir, forbid_io_uring};
        for (const pid_t victim : server.wait_workers(2)) {
            const std::size_t mark = server.log().mark();
            REQUIRE(::kill(victim, SIGKILL) == 0);
            (void)server.log().wait_for("(pid " + std::to_string(victim) + ")", mark);
            const auto living = server.wait_workers(2);
            CHECK(std::ranges::find(living, victim) == living.end());
        }
        server.reload();
        (void)server.wait_workers(2);  // those of before have said all that they had to say
        CHECK(server.log().find(warning).size() == 2);
    }
    const TempDir dir;
    Server server{echo_app(), Config{}, dir, forbid_io_uring, {"--single"}};
    CHECK(server.log().find(warning).size() == 1);
}

TEST_CASE("what is done without is told in the log file, not where the server was started") {
    const TempDir dir;
    Config config;
    config.log_target = dir.file("log");
    Server server{echo_app(), config, dir, forbid_io_uring};
    CHECK(server.log().find("no io_uring, so epoll is used").size() == 1);
    CHECK(read_file(server.error_path()).find("io_uring") == std::string::npos);
}

TEST_CASE("what an older kernel lacks is told once, with what follows") {
    if (io_uring_is_refused()) SKIP("no io_uring here");
    const TempDir dir;
    Server server{echo_app(), Config{}, dir, [] {
                      ::unsetenv("RINGFORT_DRIVER");
                      return ::setenv("RINGFORT_KERNEL", "6.1", 1) == 0;
                  }};
    Connection::to(server.at("echo")).echo("hello");
    const auto lines = server.log().find("io_uring does less here than it can: ");
    CHECK(lines.size() == 6);
    CHECK(server.log().find("every receive takes a whole buffer").size() == 1);
}

TEST_CASE("a filter that refuses io_uring does so: the test above cannot pass by chance") {
    Child child{{.argv = {"true"}, .before_exec = [] {
                     return forbid_io_uring() && ::syscall(SYS_io_uring_setup, 0, nullptr) == -1 &&
                            errno == EPERM;
                 }}};
    CHECK(child.wait().value().code() == 0);
}

}  // namespace
}  // namespace e2e
