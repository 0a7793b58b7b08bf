// What docs/guides/container.md relies on: its seccomp profile, its configuration, and a master
// that is process 1. Without a container engine: the profile is translated and loaded here.
#include <linux/filter.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "log_file.h"
#include "owned_fd.h"
#include "processes.h"

namespace e2e {
namespace {

/// The profile as the kernel takes it; static, because a child loads it between fork and exec.
std::vector<sock_filter>& program() {
    static std::vector<sock_filter> instructions;
    return instructions;
}

std::string match(const std::string& text, const std::string& pattern) {
    std::smatch found;
    return std::regex_search(text, found, std::regex{pattern}) ? found[1].str() : "";
}

scmp_arg_cmp condition_in(const std::string& group) {
    const bool masked = match(group, R"re("op": "(\w+)")re") == "SCMP_CMP_MASKED_EQ";
    const scmp_datum_t value = std::stoull(match(group, R"re("value": (\d+))re"));
    return {0, masked ? SCMP_CMP_MASKED_EQ : SCMP_CMP_LT, value, 0};
}

/// Adds a group of the profile's "syscalls", as an engine does.
void add(void* filter, const std::string& group) {
    const std::string number = match(group, R"re("errnoRet": (\d+))re");
    const std::uint32_t action =
        number.empty() ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(std::stoul(number));
    const bool conditional = group.find("\"args\"") != group.npos;
    const std::string names = match(group, R"re("names": \[([^\]]*)\])re");
    const std::regex word{R"re("(\w+)")re"};
    for (std::sregex_iterator name{names.begin(), names.end(), word}, end; name != end; ++name) {
        const int call = ::seccomp_syscall_resolve_name((*name)[1].str().c_str());
        if (call < 0) continue;  // of another architecture
        const scmp_arg_cmp condition = conditional ? condition_in(group) : scmp_arg_cmp{};
        INFO((*name)[1].str());
        REQUIRE(::seccomp_rule_add_array(filter, action, call, conditional ? 1 : 0, &condition) ==
                0);
    }
}

void translate_profile() {
    const std::string text = read_file(RINGFORT_SOURCE_DIR "/docs/guides/container/seccomp.json");
    REQUIRE(match(text, R"re("defaultAction": "(\w+)")re") == "SCMP_ACT_ERRNO");
    const std::unique_ptr<void, void (*)(void*)> filter{::seccomp_init(SCMP_ACT_ERRNO(EPERM)),
                                                        ::seccomp_release};
    constexpr std::string_view beginning = "\"comment\"";
    for (std::size_t at = text.find(beginning); at != text.npos;) {
        const std::size_t next = text.find(beginning, at + 1);
        add(filter.get(), text.substr(at, next - at));
        at = next;
    }
    const OwnedFd file{::memfd_create("profile", MFD_CLOEXEC)};
    REQUIRE(::seccomp_export_bpf(filter.get(), file.get()) == 0);
    const auto size = static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END));
    program().resize(size / sizeof(sock_filter));
    REQUIRE(::pread(file.get(), program().data(), size, 0) == static_cast<ssize_t>(size));
}

/// What a container engine does before it executes the image's program.
bool enter_container() {
    const sock_fprog filter{static_cast<unsigned short>(program().size()), program().data()};
    return ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1) == 0 &&  // which needs ptrace(2)
           ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// Writes the guide's configuration with a port and a socket file of the test's own.
std::string configuration(const TempDir& dir) {
    std::string text = read_file(RINGFORT_SOURCE_DIR "/docs/guides/container/echo.toml");
    for (const auto& [from, to] :
         {std::pair<std::string, std::string>{"*:7000", "127.0.0.1:0"},
          std::pair<std::string, std::string>{"/tmp/echo.sock", dir.file("echo.sock")}}) {
        REQUIRE(text.find(from) != text.npos);
        text.replace(text.find(from), from.size(), to);
    }
    write_file(dir.file("echo.toml"), text);
    return dir.file("echo.toml");
}

Endpoint listener(LogFile& log) {
    const std::string line = log.wait_for("listening on ");
    return Endpoint::parse(match(line, R"re(listening on (\S+))re"));
}

TEST_CASE("under the container's seccomp profile a server has io_uring, its sandbox, and reloads") {
    const TempDir dir;
    translate_profile();
    const std::string path = configuration(dir);
    write_file(dir.file("log"), "");
    Child server{{.argv = {echo_app(), "-c", path},
                  .error_path = dir.file("log"),
                  .before_exec = enter_container}};
    LogFile log{dir.file("log")};
    log.wait_for("ready: generation 1", 0, later());
    Connection::to(listener(log)).echo("hello");
    const std::vector<pid_t> workers = children_of(server.pid());
    REQUIRE_FALSE(workers.empty());
    CHECK(status_of(workers[0], "Seccomp_filters") != status_of(server.pid(), "Seccomp_filters"));
    if (std::getenv("RINGFORT_DRIVER") == nullptr) CHECK(log.find("no io_uring").empty());
    const Finished reloaded = ctl(echo_app(), dir.file("echo.sock"), {"reload"}, later());
    INFO(reloaded.text());
    CHECK(reloaded.code == 0);
    Connection::to(listener(log)).echo("hello");
    server.signal(SIGTERM);
    const auto ended = server.wait();
    REQUIRE(ended);
    CHECK(ended->code() == 0);
}

TEST_CASE("as process 1 of a container the master drains at TERM, and nothing is left") {
    if (::geteuid() != 0) SKIP("only root can make a namespace of processes");
    if (!installed("unshare")) SKIP("unshare(1) is not installed");
    const TempDir dir;
    write_file(dir.file("log"), "");
    Child engine{{.argv = {"unshare", "--pid", "--fork", "--kill-child", echo_app(), "-c",
                           configuration(dir)},
                  .error_path = dir.file("log")}};
    LogFile log{dir.file("log")};
    log.wait_for("ready: generation 1", 0, later());
    log.wait_for("[1 master");
    Connection open = Connection::to(listener(log));
    open.echo("hello");
    const std::vector<pid_t> inside = children_of(engine.pid());
    REQUIRE(inside.size() == 1);
    const std::vector<pid_t> workers = children_of(inside[0]);
    ::kill(inside[0], SIGTERM);
    log.wait_for("draining 1 connections");
    open.echo("hello again");
    open.shutdown_write();
    open.expect_end();
    const auto ended = engine.wait();
    REQUIRE(ended);
    CHECK(ended->code() == 0);
    for (const pid_t worker : workers) CHECK_FALSE(is_running(worker));
}

}  // namespace
}  // namespace e2e
