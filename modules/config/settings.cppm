export module ringfort.config:settings;

import ringfort.base;
import ringfort.std;
import :codec;
import :listener;
import :sandbox;
import :schema;

export namespace ringfort::config {

// Comparisons are defined in settings.cpp: a defaulted one here would need its members' headers in
// every importing unit.

/// How many workers to run. "auto" leaves it to the master: it knows the machine.
struct WorkerCount {
    std::optional<std::uint32_t> number;  ///< absent: auto
    friend bool operator==(const WorkerCount&, const WorkerCount&) noexcept;
};

template <>
struct Codec<WorkerCount> {
    [[nodiscard]] std::string type() const { return "\"auto\" or integer"; }
    [[nodiscard]] std::string range(const Options&) const {
        return range_text(1, limits::max_workers, "");
    }
    bool read(const Input& input, WorkerCount& out) const;
    [[nodiscard]] std::optional<std::string> write(const WorkerCount& value) const {
        return value.number ? grouped(*value.number) : quote("auto");
    }
};

/// [master]: processes and their times.
struct Master {
    WorkerCount workers;
    Milliseconds drain_timeout = limits::drain_timeout_ms;
    Milliseconds ready_timeout = limits::ready_timeout_ms;
    Milliseconds kill_timeout = limits::kill_timeout_ms;
    Milliseconds watchdog = limits::watchdog_ms;  ///< 0: none
    Milliseconds build_timeout = limits::build_timeout_ms;
    Milliseconds upgrade_timeout = limits::upgrade_timeout_ms;
    Milliseconds orphan_grace = limits::orphan_grace_ms;
    Milliseconds respawn_backoff_min = limits::respawn_backoff_min_ms;
    Milliseconds respawn_backoff_max = limits::respawn_backoff_max_ms;
    Milliseconds respawn_healthy = limits::respawn_healthy_ms;
    std::uint32_t respawn_budget = limits::respawn_budget;
    Milliseconds shutdown_delay = limits::shutdown_delay_ms;
    std::string pid_file;            ///< empty: none; as written, relative to the working directory
    std::string control;             ///< as above
    std::string user;                ///< empty: stay who we are
    std::string group;               ///< empty: the user's own, or stay
    std::uint64_t open_files = 0;    ///< 0: raise the soft limit to the hard one
    std::optional<Bytes> core_size;  ///< absent: as it is, and no core once the user has changed
    bool daemon = false;
    std::string working_directory;  ///< empty: the one the master is started in
    /// NAME and NAME=VALUE; absent: all of the master's. Beside these a process has none.
    std::optional<std::vector<std::string>> environment;
    friend bool operator==(const Master&, const Master&) noexcept;
};

/// What carries a worker's requests to the kernel.
enum class Driver : std::uint8_t { automatic, io_uring, epoll };

/// On which processors a worker may run.
enum class Affinity : std::uint8_t {
    none,      ///< as the master
    automatic  ///< on one of those of the master, by its slot
};

/// [worker]: what one worker may use.
struct Worker {
    Driver driver = Driver::automatic;
    Affinity affinity = Affinity::none;
    std::optional<std::int32_t> nice;  ///< absent: as the master
    std::uint32_t connections = limits::worker_connections;
    Milliseconds accept_backoff = limits::accept_backoff_ms;
    std::uint32_t receive_buffers = limits::receive_buffers;  ///< a power of two
    Bytes receive_buffer_size = limits::receive_buffer_size;
    std::uint32_t ring_submissions = limits::ring_submissions;
    std::uint32_t ring_completions = limits::ring_completions;
    friend bool operator==(const Worker&, const Worker&) noexcept;
};

/// [log]: where lines go and how they look.
struct Log {
    std::string target = "stderr";  ///< "stderr" or a path, as written
    log::Level level = log::Level::info;
    log::Format format = log::Format::text;
    friend bool operator==(const Log&, const Log&) noexcept;
};

/// [[zone]]: named shared memory.
struct Zone {
    std::string name;
    Bytes size;
    bool noreuse = false;  ///< each reload makes it anew
    friend bool operator==(const Zone&, const Zone&) noexcept;
};

/// A service's configuration, its type erased. Immutable and shared.
struct ServiceValue {
    std::shared_ptr<const void> value;
    const std::type_info* type = nullptr;
};

/// A whole configuration, checked. A value: copies share the services' parts, which nobody
/// changes.
struct Settings {
    Master master;
    Worker worker;
    Sandbox sandbox;
    Log log;
    std::vector<Listener> listeners;
    std::vector<Zone> zones;
    std::map<std::string, ServiceValue, std::less<>> services;  ///< every registered one

    /// Returns a service's configuration. Aborts when no such service was registered, or with
    /// another type. Lives as long as any copy of these settings.
    template <class Config>
    [[nodiscard]] const Config& service(std::string_view name) const {
        const auto found = services.find(name);
        ensure(found != services.end(), "settings of a service that was never registered");
        ensure(*found->second.type == typeid(Config), "settings of a service as another type");
        return *static_cast<const Config*>(found->second.value.get());
    }
};

/// Returns the schema of everything but [service.NAME].
[[nodiscard]] const TableSchema& core_schema();

}  // namespace ringfort::config
