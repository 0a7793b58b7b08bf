module;
#include <signal.h>
export module ringfort.master:loop;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.std;

export namespace ringfort::master {

/// What a worker is started with, beside its messages. Views into the master's memory, of which the
/// worker has a copy.
struct WorkerStart {
    channel::Channel to_master;
    const config::Settings& settings;
    const std::optional<process::Credentials>& credentials;  ///< to run as, if any
};

/// What a worker writes down of itself where the master can read it.
struct Observation {
    Instant pulse{};              ///< when it last made progress
    std::uint64_t accepted = 0;   ///< connections, of all workers that had its row
    std::uint64_t active = 0;     ///< connections that are open
    std::uint64_t failed = 0;     ///< connections that ended with an error, of all as above
    std::uint64_t datagrams = 0;  ///< received, of all as above
};

/// What the application hands down to the master, which knows neither services nor workers.
struct Application {
    std::string name;                    ///< shown in process titles
    process::Program program = {};       ///< started anew for an upgrade
    std::function<config::Read()> read;  ///< reads the configuration anew, at each reload
    std::function<config::Parsed(const config::Source&)> parse;  ///< what was read
    /// Says in lines which values differ.
    std::function<std::vector<std::string>(const config::Settings&, const config::Settings&)>
        changes = {};
    /// Warns of what there may be too little of, of each configuration that a reload is to bring.
    std::function<void(const config::Settings&)> warn = {};
    /// Says which zones are needed, beside the configured ones or as them.
    std::function<std::vector<cycle::ZoneRequest>(const config::Settings&)> zones;
    std::function<int(WorkerStart)> worker;  ///< a worker's life; returns its exit code
    /// Reads what the worker with this row of counters has written down of itself.
    std::function<Observation(const cycle::Cycle&, std::uint32_t row)> observe = {};
    std::function<void(const cycle::Cycle&)> serving = {};  ///< called once, when all are ready
};

/// The signals the master reads; they are blocked in it and in its workers until those ask for
/// them.
inline constexpr int handled_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM};

/// Tells the master that started this process, to be succeeded by it, what is wrong with the
/// configuration. Does nothing when no master did.
void complain_to_predecessor(const config::Problems& problems);

/// Tells whether a master has started this process to be succeeded by it.
[[nodiscard]] bool has_predecessor() noexcept;

/// Runs the master until it is told to stop and the last worker has gone. Blocks. Returns the exit
/// code: 0 after a stop, 1 when it could not begin to serve.
[[nodiscard]] int run(const Application& application, config::Settings first);

/// Builds the first cycle and takes it down again: what `-t` does beyond parsing. Returns the
/// obstacles; none means that a start would succeed. An address that the running master of the same
/// pid file holds is none.
[[nodiscard]] std::vector<std::string> try_cycle(const Application& application,
                                                 config::Settings settings);

/// Says what keeps a pid file from being made or taken over.
[[nodiscard]] std::string pid_file_obstacle(const std::string& path, const Error& error);

}  // namespace ringfort::master
