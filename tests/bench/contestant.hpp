#pragma once
// A server under measurement: started on a core of its own, found by the line it prints, its CPU
// time read to the nanosecond, ended with everything it has started.
#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

/// How to start a server and how to know that it serves.
struct Launch {
    std::string name;                  ///< for people
    std::vector<std::string> command;  ///< program and arguments
    std::string log_file;              ///< gets its stdout and stderr; overwritten
    std::string port_follows;          ///< the port stands in the output right after this text
    std::string ready_word;            ///< wait for this word too, unless empty
    int core = -1;                     ///< where it is pinned; -1: nowhere in particular
};

/// CPU time used by a server since it was started.
struct CpuTime {
    std::uint64_t total_ns = 0;      ///< all its processes and threads
    std::uint64_t leader_ns = 0;     ///< of it, the process we started (for Ringfort: the master)
    std::uint64_t user_ticks = 0;    ///< all its processes, sampled by the kernel's timer
    std::uint64_t system_ticks = 0;  ///< likewise
};

/// Returns the state of a process as proc(5) spells it, 'T' for one that is stopped; 0 when it is
/// gone.
[[nodiscard]] char state_of(pid_t pid);

/// A running server. The destructor ends it: SIGTERM, after three seconds SIGKILL to its group.
class Contestant {
public:
    /// Starts the server and waits at most ten seconds until it serves. Throws std::runtime_error
    /// with the reason and the end of its log.
    explicit Contestant(Launch launch);
    ~Contestant();
    Contestant(const Contestant&) = delete;
    Contestant& operator=(const Contestant&) = delete;

    [[nodiscard]] const std::string& name() const { return launch_.name; }
    [[nodiscard]] std::uint16_t port() const { return port_; }

    /// Returns how many processes it consists of, and which.
    [[nodiscard]] std::size_t processes() const { return members_.size(); }
    [[nodiscard]] std::vector<pid_t> pids() const;

    /// Reads the CPU clocks of all its processes. Throws std::runtime_error when one of them is
    /// gone: what it had used can no longer be known.
    [[nodiscard]] CpuTime cpu() const;

    /// Throws std::runtime_error when its processes are not those it had when it became ready.
    void require_same_processes() const;

private:
    struct Member {
        pid_t pid;
        clockid_t clock;
    };

    void spawn();
    void await_port();
    [[nodiscard]] bool serves();
    void end();
    [[noreturn]] void give_up(const std::string& reason) const;

    Launch launch_;
    pid_t pid_ = -1;
    std::uint16_t port_ = 0;
    std::vector<Member> members_;  // the leader first
};

}  // namespace bench
