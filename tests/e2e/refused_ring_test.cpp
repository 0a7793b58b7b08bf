// What a server says where io_uring is forbidden: most containers.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <string>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "deadline.h"
#include "temp_dir.h"

namespace e2e {
namespace {

/// Refuses io_uring_setup with EPERM as the default profiles of Docker and containerd do.
bool forbid_io_uring() {
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

TEST_CASE("where seccomp forbids io_uring a start exits 1 and names the cause and the remedy") {
    const std::string app = echo_app();
    const TempDir dir;
    write_file(dir.file("config.toml"), Config{}.text());
    Child server{{.argv = {app, "-c", dir.file("config.toml")},
                  .error_path = dir.file("err"),
                  .before_exec = forbid_io_uring}};
    const auto status = server.wait();
    const std::string said = read_file(dir.file("err"));
    INFO(said);
    REQUIRE(status);
    CHECK(status->code() == 1);
    CHECK(said.find("io_uring") != std::string::npos);
    CHECK(said.find("seccomp") != std::string::npos);
    CHECK(said.find("--security-opt") != std::string::npos);  // Docker's way to allow it
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
