#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "child.h"
#include "config.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "log_file.h"

namespace e2e {

/// A real server in a directory of its own, from start to the proof that nothing of it is left.
///
/// The constructor returns when the server says that it is ready, and throws its log otherwise. The
/// destructor stops it with TERM if it still runs, and fails the test unless the master exited with
/// 0, every process of its group is gone, every port is free, no socket file is left and no
/// sanitizer has complained.
class Server {
public:
    Server(const std::string& app, const Config& config, const TempDir& dir,
           bool (*before_exec)() = nullptr, const std::vector<std::string>& options = {});
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// Returns where `service` listens, with the port that the kernel picked: the listener reported
    /// last of those whose address contains `host`.
    [[nodiscard]] Endpoint at(std::string_view service, std::string_view host = "");
    [[nodiscard]] pid_t master() const noexcept { return child_.pid(); }
    /// Returns the running workers of all generations.
    [[nodiscard]] std::vector<pid_t> workers() const;
    /// Returns the worker of the newest generation in a slot; fails the test if there is none.
    [[nodiscard]] pid_t worker(int slot) const;
    /// Waits until exactly `count` workers run.
    [[nodiscard]] std::vector<pid_t> wait_workers(std::size_t count, Deadline deadline = soon());
    [[nodiscard]] LogFile& log() noexcept { return *log_; }
    [[nodiscard]] const std::string& config_path() const noexcept { return config_path_; }
    [[nodiscard]] const std::string& error_path() const noexcept { return error_path_; }

    void write_config(std::string_view text) const;
    void signal(int number) const { child_.signal(number); }
    /// Sends HUP and returns the number of the generation that serves from then on. Throws, with
    /// the log, if the reload fails.
    int reload(Deadline deadline = later());
    /// Sends HUP and returns the line that says why the old generation goes on.
    std::string reload_expecting_failure();
    /// Waits for the master's end.
    [[nodiscard]] std::optional<ExitStatus> wait(Deadline deadline = soon()) {
        return child_.wait(deadline);
    }
    /// Kills the master alone with SIGKILL: socket files may stay, nothing else.
    void kill_master();
    /// Kills every process of the server with SIGKILL, as a power failure would.
    void kill_all();
    /// Says whether no process of it runs and nothing listens where it listened.
    [[nodiscard]] bool nothing_left() const;

private:
    void note_listeners();
    void check_nothing_left();

    std::string config_path_;
    std::string error_path_;
    std::optional<LogFile> log_;  ///< where the lines go: standard error or [log] target
    Child child_;
    struct Listener {
        Endpoint endpoint;
        std::string service;
        bool udp = false;
        std::set<std::uint64_t> inodes;
    };
    std::vector<Listener> listeners_;
    std::size_t noted_ = 0;  ///< how much of the log has been searched for listeners
    bool killed_ = false;
    int unwinding_;
};

}  // namespace e2e
