// The unit of docs/guides/systemd.md under systemd itself: one of the test's own, as process 1 of
// namespaces that end with it, which knows no units but these.
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "load.h"
#include "log_file.h"
#include "owned_fd.h"
#include "processes.h"
#include "text.h"

namespace e2e {
namespace {

constexpr const char* systemd = "/lib/systemd/systemd";

/// Makes a control group of its own, and in it the namespaces. $1: the directory of the test.
constexpr const char* enter_groups = R"sh(
set -e
groups=$(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/mounts | head -n 1)
mkdir "$groups/$(basename "$1")"
echo $$ >"$groups/$(basename "$1")/cgroup.procs"
exec unshare --pid --fork --kill-child --mount --cgroup --ipc --uts sh "$1/begin" "$1"
)sh";

/// Has the guide's paths lead into that directory, keeps the machine's devices and settings out of
/// reach, and becomes systemd.
constexpr const char* become_systemd = R"sh(
set -e
mount --make-rprivate /
mount -t proc proc /proc
for folder in /proc/sys /sys; do
    mount --rbind "$folder" "$folder"
    mount -o remount,ro,bind "$folder"
done
mkdir "$1/dev"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
mkdir "$1/dev/pts" "$1/dev/shm" "$1/dev/mqueue" "$1/dev/hugepages"
for device in null zero full random urandom tty ptmx; do
    touch "$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
touch "$1/dev/kmsg" "$1/dev/console"
mount --bind "$1/console" "$1/dev/kmsg"
mount --rbind "$1/dev" /dev
for folder in etc var/log usr/local/bin; do mount --bind "$1/$folder" "/$folder"; done
for folder in /run /var/tmp; do mount -t tmpfs tmpfs "$folder"; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec setpriv --bounding-set -sys_module,-sys_time,-sys_boot,-syslog env -i PATH="$PATH" \
    container=test SYSTEMD_UNIT_PATH="$1/units" SYSTEMD_GENERATOR_PATH="$1/units" \
    /lib/systemd/systemd --system --unit=test.target --log-target=kmsg --show-status=false
)sh";

/// Removes the control groups below $1, as soon as nobody is in them.
constexpr const char* remove_groups = R"sh(
groups=$(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/mounts | head -n 1)
for attempt in $(seq 100); do
    find "$groups/$1" -depth -type d -exec rmdir {} + && exit
    sleep 0.05
done
)sh";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    REQUIRE(text.find(from) != text.npos);
    return text.replace(text.find(from), from.size(), to);
}

/// What the tests change of the guide's unit: signs of life are due sooner.
std::string unit_of_guide() {
    const std::string guide = read_file(RINGFORT_SOURCE_DIR "/docs/guides/systemd.md");
    const std::string fence = "```ini\n";
    const std::size_t from = guide.find(fence) + fence.size();
    return replaced(guide.substr(from, guide.find("```", from) - from), "WatchdogSec=10",
                    "WatchdogSec=2\nLimitCORE=0");
}

class Systemd {
public:
    Systemd() {
        namespace fs = std::filesystem;
        const std::string root = dir_.path().string();
        for (const char* folder : {"/units", "/var/log", "/usr/local/bin"})
            fs::create_directories(root + folder);
        fs::create_directories(root + "/etc/ringfort");
        for (const char* file : {"passwd", "group", "nsswitch.conf", "ld.so.cache", "machine-id"})
            if (fs::exists(std::string{"/etc/"} + file))
                fs::copy_file(std::string{"/etc/"} + file, root + "/etc/" + file);
        add_line("/etc/passwd", "ringfort:x:61234:61234::/nonexistent:/usr/sbin/nologin");
        add_line("/etc/group", "ringfort:x:61234:");
        fs::copy_file(echo_app(), root + "/usr/local/bin/echo-server");
        ::chmod(root.c_str(), 0755);
        for (const char* target : {"test", "sysinit", "basic", "shutdown", "network", "multi-user"})
            write_file(root + "/units/" + target + ".target", "[Unit]\nDefaultDependencies=no\n");
        write_file(root + "/enter", enter_groups);
        write_file(root + "/begin", become_systemd);
        engine_.emplace(ChildOptions{.argv = {"sh", root + "/enter", root},
                                     .output_path = root + "/console",
                                     .error_path = root + "/console"});
        const bool up = eventually(
            later(), [&] { return ctl({"is-active", "test.target"}).output == "active\n"; });
        if (!up) leave();
        INFO(read_file(root + "/console"));
        REQUIRE(up);
    }
    ~Systemd() { leave(); }
    Systemd(const Systemd&) = delete;

    /// Runs a program where systemd is.
    [[nodiscard]] Finished inside(std::vector<std::string> argv) const {
        const auto first = children_of(engine_->pid());
        if (first.empty()) return {};
        std::vector<std::string> all{"nsenter",  "--mount",  "--pid",
                                     "--cgroup", "--target", std::to_string(first[0])};
        all.insert(all.end(), argv.begin(), argv.end());
        return run(std::move(all), "", later());
    }
    [[nodiscard]] Finished ctl(std::vector<std::string> order) const {
        order.insert(order.begin(), "systemctl");
        return inside(std::move(order));
    }
    [[nodiscard]] std::string shown(const std::string& property) const {
        const std::string text = ctl({"show", "echo", "--property", property}).output;
        return text.substr(text.find('=') + 1, text.find('\n') - text.find('=') - 1);
    }
    void install(const std::string& unit) const {
        write_file(dir_.file("units/echo.service"), unit);
        REQUIRE(ctl({"daemon-reload"}).code == 0);
    }
    void configure(const std::string& text) const {
        write_file(dir_.file("etc/ringfort/echo.toml"), text);
        ::chmod(dir_.file("etc/ringfort/echo.toml").c_str(), 0644);
    }
    [[nodiscard]] std::string log() const {
        return read_file(dir_.file("var/log/ringfort/echo.log"));
    }
    /// Returns what there is to know when something has gone wrong.
    [[nodiscard]] std::string report() const {
        return ctl({"status", "echo"}).text() + read_file(dir_.file("console")) + log();
    }
    /// Returns the main process, as it is called out here.
    [[nodiscard]] pid_t main_process() const {
        const std::string inner = shown("MainPID");
        const auto first = children_of(engine_->pid());
        if (first.empty()) return -1;
        for (const pid_t child : children_of(first[0])) {
            const std::string names = status_of(child, "NSpid");
            if (names.substr(names.rfind(' ') + 1) == inner) return child;
        }
        return -1;
    }

private:
    /// Ends all of it, and leaves no control group.
    void leave() {
        for (const pid_t first : children_of(engine_->pid())) ::kill(first, SIGKILL);
        (void)engine_->wait();
        (void)run({"sh", "-c", remove_groups, "sh", dir_.path().filename().string()}, "", later());
    }
    void add_line(const std::string& path, const std::string& line) const {
        const std::string file = dir_.path().string() + path;
        write_file(file, read_file(file) + line + "\n");
        ::chmod(file.c_str(), 0644);
    }

    TempDir dir_;
    std::optional<Child> engine_;
};

/// Skips the test where there is no systemd to be had.
void need_systemd() {
#ifdef RINGFORT_E2E_SANITIZED
    SKIP("the unit's limits are not for sanitizers");
#endif
    if (::geteuid() != 0) SKIP("only root can make the namespaces");
    for (const char* program : {"unshare", "nsenter", "mount", "setpriv", "systemctl"})
        if (!installed(program)) SKIP(std::string{program} + " is not installed");
    if (::access(systemd, X_OK) != 0) SKIP("systemd is not installed");
    if (!has(read_file("/proc/mounts"), " cgroup2 rw")) SKIP("there is no cgroup2 to write to");
    const std::string probe = "mount -t proc proc /proc && mount -t cgroup2 none /sys/fs/cgroup";
    if (run({"unshare", "--pid", "--fork", "--mount", "--cgroup", "sh", "-c", probe}).code != 0)
        SKIP("this root may make no namespaces");
    if (std::getenv("RINGFORT_DRIVER") != nullptr &&
        std::string{std::getenv("RINGFORT_DRIVER")} == "epoll")
        SKIP("systemd gives its services an environment of its own");
}

/// An address that nobody has, as the unit's server cannot tell which port it was given.
Endpoint free_address() {
    return Endpoint::of_socket(reserve(Endpoint::parse("127.0.0.1:0")).get());
}

std::string configuration(const Endpoint& endpoint, const std::string& more = "") {
    return "[master]\nworkers = 2\ncontrol = \"/run/ringfort/echo.sock\"\n"
           "pid_file = \"/run/ringfort/echo.pid\"\n[log]\ntarget = \"/var/log/ringfort/echo.log\"\n"
           "[[listener]]\naddress = \"" +
           endpoint.text() + "\"\nservice = \"echo\"\n" + more;
}

/// The guide's unit for the systemd that is here: before 253 the guide has another way to reload.
std::string unit_for_here() {
    const std::string version = run({"systemctl", "--version"}).output;
    const std::string unit = unit_of_guide();
    if (std::stoi(version.substr(version.find(' '))) >= 253) return unit;
    return replaced(unit, "Type=notify-reload\n",
                    "Type=notify\nExecReload=/usr/local/bin/echo-server -c "
                    "/etc/ringfort/echo.toml ctl reload\n");
}

TEST_CASE("the guide's unit starts, reloads, upgrades and stops a server under systemd") {
    need_systemd();
    const Systemd manager;
    const Endpoint endpoint = free_address();
    manager.configure(configuration(endpoint));
    manager.install(unit_for_here());
    const Finished started = manager.ctl({"start", "echo"});
    INFO(started.text() << manager.report());
    REQUIRE(started.code == 0);
    CHECK(manager.shown("StatusText") == "generation 1 serves, 2 workers");
    Connection held = Connection::to(endpoint);
    held.echo("hello");
    const pid_t master = manager.main_process();
    REQUIRE(master > 0);
    CHECK(status_of(master, "Uid") == "61234 61234 61234 61234");
    for (const pid_t worker : children_of(master)) {
        CHECK(status_of(worker, "NoNewPrivs") == "1");
        CHECK(status_of(worker, "Seccomp") == "2");
        CHECK(status_of(worker, "CapEff") == "0000000000000000");
    }
    CHECK_FALSE(has(manager.log(), " warning "));  // no io_uring, or no sandbox
    CHECK(manager.ctl({"reload", "echo"}).code == 0);
    CHECK(manager.shown("StatusText") == "generation 2 serves, 2 workers");
    manager.configure(configuration(Endpoint::parse("192.0.2.1:7000")));  // not this machine's
    (void)manager.ctl({"reload", "echo"});  // fails before systemd 253
    CHECK(eventually(soon(), [&] {
        return manager.shown("StatusText")
            .starts_with("generation 2 serves on; the last reload failed");
    }));
    manager.configure(configuration(endpoint));
    CHECK(manager
              .inside({"/usr/local/bin/echo-server", "ctl", "upgrade", "--socket",
                       "/run/ringfort/echo.sock"})
              .code == 0);
    CHECK(manager.shown("ActiveState") == "active");
    held.echo("through all of it");
    const pid_t successor = manager.main_process();  // systemd's own child at once
    CHECK(successor > 0);
    CHECK(successor != master);
    held.close();
    REQUIRE(eventually(soon(), [&] { return !is_running(master); }));
    Connection last = Connection::to(endpoint);
    last.echo("after it");
    // The stop lets connections finish: systemd does not kill what it takes for somebody else's.
    CHECK(manager.ctl({"stop", "--no-block", "echo"}).code == 0);
    REQUIRE(eventually(soon(), [&] { return has(manager.log(), "draining 1 connections"); }));
    last.echo("drained");
    last.close();
    REQUIRE(eventually(soon(), [&] { return manager.shown("ActiveState") == "inactive"; }));
    CHECK(manager.shown("Result") == "success");
    CHECK_FALSE(is_running(successor));
    CHECK_FALSE(is_running(master));
}

TEST_CASE(
    "under systemd a master that dies or hangs is replaced, and nobody is refused meanwhile") {
    need_systemd();
    const Systemd manager;
    const Endpoint endpoint = free_address();
    manager.configure(configuration(endpoint));
    const std::string unit = unit_for_here();
    manager.install(
        replaced(unit, "ExecStartPre=/usr/local/bin/echo-server -c /etc/ringfort/echo.toml -t\n",
                 "FileDescriptorStoreMax=64\nEnvironment=FDSTORE=64\n"));
    const Finished started = manager.ctl({"start", "echo"});
    INFO(started.text() << manager.report());
    REQUIRE(started.code == 0);
    Load load{endpoint};
    REQUIRE(load.wait_for_more(50));
    const pid_t master = manager.main_process();
    REQUIRE(master > 1);
    std::this_thread::sleep_for(milliseconds{5'000});  // it gives signs of life
    REQUIRE(manager.main_process() == master);
    for (const int signal : {SIGKILL, SIGSTOP}) {
        INFO("signal " << signal);
        const pid_t victim = manager.main_process();
        REQUIRE(victim > 1);  // -1 would be everybody
        REQUIRE(::kill(victim, signal) == 0);
        REQUIRE(eventually(later(), [&] {
            const pid_t other = manager.main_process();
            return other > 0 && other != victim && manager.shown("ActiveState") == "active";
        }));
        CHECK(load.wait_for_more(50));
    }
    CHECK(load.failed(Failure::refused) == 0);
    load.stop();
    CHECK(manager.ctl({"stop", "echo"}).code == 0);
}

}  // namespace
}  // namespace e2e
