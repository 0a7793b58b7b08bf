// A server that may not have as many processes as it wants.
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

/// Nobody else's, not even of these tests started a second time: its processes are the server's.
const id_t some_user = 20'000 + static_cast<id_t>(::getpid()) % 40'000;

/// Becomes a user whose processes are counted: those of root are not.
bool become_user() {
    return ::setgroups(0, nullptr) == 0 && ::setresgid(some_user, some_user, some_user) == 0 &&
           ::setresuid(some_user, some_user, some_user) == 0;
}

/// Leaves room for a server of two workers and a reload.
bool become_user_of_few_processes() {
    const rlimit few{8, 8};
    return ::setrlimit(RLIMIT_NPROC, &few) == 0 && become_user();
}

bool become_user_of_one_process() {
    const rlimit one{1, 1};
    return ::setrlimit(RLIMIT_NPROC, &one) == 0 && become_user();
}

/// Is one more process of that user, and nothing else. Its limit is root's: it is not refused.
bool become_user_and_stay() {
    if (!become_user()) return false;
    for (;;) ::pause();
}

/// Goes through the loss of a worker that cannot be replaced for a while, and a reload meanwhile.
template <class Forbid, class Allow>
void survive_without_fork(Server& server, Forbid forbid, Allow allow) {
    const Endpoint echo = server.at("echo");
    const std::vector<pid_t> workers = server.wait_workers(2);
    Connection held = Connection::to(echo);
    forbid();
    const std::size_t mark = server.log().mark();
    const std::string failed = server.reload_expecting_failure();
    CHECK(failed.find("no process can be started to build the cycle: fork: Resource temporarily "
                      "unavailable") != std::string::npos);
    CHECK(server.workers() == workers);

    ::kill(workers[0], SIGKILL);
    server.log().wait_for("cannot be spawned: fork: Resource temporarily unavailable", mark);
    server.log().wait_for("(failure 2 in a row)", mark);
    server.log().wait_for("(failure 3 in a row)", mark);
    CHECK(server.workers() == std::vector<pid_t>{workers[1]});
    for (int i = 0; i < 20; ++i) Connection::to(echo).echo("the sibling serves");

    allow();
    CHECK(server.wait_workers(2).size() == 2);
    static_cast<void>(server.reload());
    Connection::to(echo).echo("as ever");
}

Config of_two_workers() {
    Config config;
    config.respawn_backoff_min_ms = 20;
    return config;
}

TEST_CASE("a worker that RLIMIT_NPROC keeps from being respawned comes back when it may") {
#ifdef RINGFORT_E2E_SANITIZED
    SKIP("the search for leaks at the end of a process needs another one");
#endif
    if (::geteuid() != 0) SKIP("only root can become a user without other processes");
    const std::string app = echo_app();
    const TempDir dir;
    std::filesystem::permissions(dir.path(), std::filesystem::perms{0755});
    Server server{app, of_two_workers(), dir, become_user_of_few_processes};
    std::vector<std::unique_ptr<Child>> others;
    const auto forbid = [&] {
        for (int i = 0; i < 8; ++i) {
            others.push_back(std::make_unique<Child>(
                ChildOptions{.argv = {"true"}, .before_exec = become_user_and_stay}));
            const pid_t pid = others.back()->pid();
            REQUIRE(eventually(soon(), [&] {
                return status_of(pid, "Uid").starts_with(std::to_string(some_user));
            }));
        }
    };
    survive_without_fork(server, forbid, [&] { others.clear(); });
}

TEST_CASE("a start that RLIMIT_NPROC forbids says why, exits 1 and leaves nothing") {
#ifdef RINGFORT_E2E_SANITIZED
    SKIP("the search for leaks at the end of a process needs another one");
#endif
    if (::geteuid() != 0) SKIP("only root can become a user without other processes");
    const std::string app = echo_app();
    const TempDir dir;
    std::filesystem::permissions(dir.path(), std::filesystem::perms{0755});
    Config config;
    write_file(dir.file("config.toml"), config.text());
    Child server{{.argv = {app, "-c", dir.file("config.toml")},
                  .error_path = dir.file("err"),
                  .before_exec = become_user_of_one_process}};
    const auto status = server.wait();
    const std::string said = read_file(dir.file("err"));
    INFO(said);
    REQUIRE(status);
    CHECK(status->code() == 1);
    CHECK(said.find("cannot be spawned: fork: Resource temporarily unavailable") !=
          std::string::npos);
    CHECK(said.find("start failed: a worker could not be spawned") != std::string::npos);
    CHECK(members_of_group(server.pid()).empty());
}

/// A cgroup of its own that limits processes, below the root of the hierarchy.
class PidsGroup {
public:
    /// Empty, with the reason in `why`, when none can be made here.
    static std::optional<PidsGroup> make(std::string& why) {
        for (const char* top : {"/sys/fs/cgroup/pids", "/sys/fs/cgroup"}) {
            const std::string path =
                std::string{top} + "/ringfort-test-" + std::to_string(::getpid());
            if (::mkdir(path.c_str(), 0755) != 0) {
                why += path + ": " + std::generic_category().message(errno) + "; ";
                continue;
            }
            PidsGroup group{path};
            if (std::filesystem::exists(path + "/pids.max")) return group;
            why += path + " has no pids.max; ";
        }
        return {};
    }
    PidsGroup(PidsGroup&& other) noexcept : path_{std::exchange(other.path_, "")} {}
    PidsGroup& operator=(PidsGroup&&) = delete;
    ~PidsGroup() {
        if (path_.empty()) return;
        // The kernel may need a moment for processes that have been reaped.
        CHECK(eventually(soon(), [&] { return ::rmdir(path_.c_str()) == 0; }));
    }

    void add(pid_t pid) const { write("cgroup.procs", std::to_string(pid)); }
    void limit(const std::string& most) const { write("pids.max", most); }

private:
    explicit PidsGroup(std::string path) : path_{std::move(path)} {}
    void write(const char* file, const std::string& text) const {
        std::ofstream out{path_ + "/" + file};
        out << text << std::flush;
        REQUIRE(out);
    }

    std::string path_;
};

TEST_CASE("a worker that a pids cgroup keeps from being respawned comes back when it may") {
    std::string why;
    const auto group = PidsGroup::make(why);
    if (!group) SKIP("no cgroup that limits processes can be made here: " << why);
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, of_two_workers(), dir};
    group->add(server.master());
    for (const pid_t worker : server.wait_workers(2)) group->add(worker);
    survive_without_fork(server, [&] { group->limit("1"); }, [&] { group->limit("max"); });
    server.signal(SIGTERM);
    CHECK(server.wait(later())->code() == 0);
}

}  // namespace
}  // namespace e2e
