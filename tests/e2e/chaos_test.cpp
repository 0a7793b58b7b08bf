// kill -9 and SIGSTOP of any process at any moment of a reload or an upgrade. The moments and the
// processes are drawn; the seed is printed with a failure.
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <list>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "processes.h"

namespace e2e {
namespace {

constexpr int rounds = 8;

void pause_ms(long ms) {
    const timespec time{.tv_sec = ms / 1'000, .tv_nsec = ms % 1'000 * 1'000'000};
    ::nanosleep(&time, nullptr);
}

/// A service that is to be there, whoever dies; somebody starts it again when its master has died.
class Service {
public:
    Service() {
        config_.control = dir_.file("control.sock");
        config_.pid_file = dir_.file("pid");
        config_.drain_timeout_ms = 500;
        config_.kill_timeout_ms = 300;
        config_.ready_timeout_ms = 1'500;
        config_.build_timeout_ms = 1'000;
        config_.upgrade_timeout_ms = 2'500;
        config_.orphan_grace_ms = 1'500;
        config_.watchdog_ms = 600;
        config_.respawn_backoff_min_ms = 10;
        config_.listeners[0].address = "unix:" + dir_.file("echo.sock");
        write_file(dir_.file("echo.toml"), config_.text());
        start();
    }
    ~Service() {
        for (const pid_t pid : processes()) ::kill(pid, SIGKILL);
    }
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    void start() {
        masters_.emplace_back(
            ChildOptions{.argv = {app_, "-c", dir_.file("echo.toml")}, .error_path = log_path()});
    }
    [[nodiscard]] std::string log_path() const { return dir_.file("log"); }
    [[nodiscard]] pid_t master() const {
        const std::string text = read_file(*config_.pid_file);
        return text.empty() ? 0 : static_cast<pid_t>(std::stol(text));
    }
    /// Returns everything that runs, in all the groups there were.
    [[nodiscard]] std::vector<pid_t> processes() const {
        std::vector<pid_t> all;
        for (const Child& one : masters_)
            for (const pid_t pid : members_of_group(one.pid())) all.push_back(pid);
        return all;
    }
    [[nodiscard]] Finished ctl(const std::string& order) const {
        return e2e::ctl(app_, *config_.control, {order}, Deadline::after(milliseconds{200}));
    }
    /// Says whether a client is served, and nothing is there but a master and its two workers.
    [[nodiscard]] bool is_well() {
        if (!is_running(master())) {
            if (processes().size() < 64) start();
            return false;
        }
        const Finished status = ctl("status");
        const auto all = processes();
        // One that is stopped is found by the watchdog of a master that lives, and of no other.
        if (status.code != 0 || all.size() != 3 || std::ranges::any_of(all, is_stopped))
            return false;
        std::size_t ready = 0;
        for (auto at = status.output.find(": ready"); at != std::string::npos;
             at = status.output.find(": ready", at + 1))
            ++ready;
        if (ready != 2) return false;
        try {
            Connection::to(Endpoint::parse(config_.listeners[0].address)).echo("well?");
            return true;
        } catch (const NetError&) {
            return false;
        }
    }
    [[nodiscard]] bool ends() {
        ::kill(master(), SIGTERM);
        return eventually(later(), [&] { return processes().empty(); });
    }
    [[nodiscard]] bool left_nothing() const {
        return !std::filesystem::exists(*config_.control) &&
               !std::filesystem::exists(*config_.pid_file) &&
               !std::filesystem::exists(config_.listeners[0].address.substr(5));
    }

private:
    std::string app_ = echo_app();
    TempDir dir_;
    Config config_;
    std::list<Child> masters_;  ///< those started here
};

TEST_CASE("whichever process is killed or stopped in a reload or an upgrade, it is well again") {
    const std::uint32_t seed = std::random_device{}();
    std::mt19937 random{seed};
    const auto draw = [&](int from, int to) {
        return std::uniform_int_distribution<int>{from, to}(random);
    };
    Service service;
    const bool begun = eventually(later(), [&] { return service.is_well(); });
    INFO(read_file(service.log_path()));
    REQUIRE(begun);
    for (int round = 0; round < rounds; ++round) {
        const bool upgrade = draw(0, 1) == 1;
        ::kill(service.master(), upgrade ? SIGUSR2 : SIGHUP);
        pause_ms(draw(0, 60));
        const auto all = service.processes();
        const pid_t victim =
            all[static_cast<std::size_t>(draw(0, static_cast<int>(all.size()) - 1))];
        const std::string what = title_of(victim);
        // Nobody here looks after a stopped master, but while it is to take over.
        const bool stop = draw(0, 1) == 1 && victim != service.master() &&
                          what.find("succeeded") == std::string::npos;
        ::kill(victim, stop ? SIGSTOP : SIGKILL);
        if (stop && victim == service.master()) ::kill(victim, SIGCONT);  // it has, meanwhile
        const bool well = eventually(later(), [&] { return service.is_well(); });
        INFO("seed " << seed << ", round " << round << ": " << (upgrade ? "upgrade" : "reload")
                     << ", " << (stop ? "stopped" : "killed") << " " << victim << " (" << what
                     << ")\n"
                     << read_file(service.log_path()));
        REQUIRE(well);
    }
    CHECK(service.ends());
    CHECK(service.left_nothing());
}

}  // namespace
}  // namespace e2e
