module;
#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

constexpr std::int64_t max_path = 4'095;  // PATH_MAX without its NUL
constexpr std::int64_t max_name = 255;
constexpr std::int64_t max_variable = 131'071;  // MAX_ARG_STRLEN of execve(2) without its NUL

std::int64_t number(std::size_t value) {
    return static_cast<std::int64_t>(value);
}

std::optional<Complaint> power_of_two(const std::uint32_t& value) {
    if (std::has_single_bit(value)) return std::nullopt;
    return Complaint{
        "must be a power of two",
        fmt::format("the nearest ones are {} and {}", std::bit_floor(value), std::bit_ceil(value))};
}

std::optional<Complaint> zone_name(const std::string& name) {
    constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
    if (name.find_first_not_of(allowed) != name.npos)
        return Complaint{"may be made of a-z, 0-9, `_`, `.` and `-` only"};
    if (name.starts_with("ringfort."))
        return Complaint{"must not begin with `ringfort.`", "such names are Ringfort's own"};
    return std::nullopt;
}

void check_backoff(const Master& master, Faults& faults) {
    if (master.respawn_backoff_min <= master.respawn_backoff_max) return;
    const bool min_written = faults.has({"respawn_backoff_min_ms"});
    const bool both = min_written && faults.has({"respawn_backoff_max_ms"});
    Fault fault{{min_written ? "respawn_backoff_min_ms" : "respawn_backoff_max_ms"},
                fmt::format("`respawn_backoff_min_ms` ({}) is more than "
                            "`respawn_backoff_max_ms` ({}{})",
                            grouped(master.respawn_backoff_min.count()),
                            grouped(master.respawn_backoff_max.count()),
                            both || !min_written ? "" : " by default")};
    if (both) {
        fault.see = {"respawn_backoff_max_ms"};
        fault.note = "the maximum is set here";
    }
    faults.add(fault);
}

void check_ring(const Worker& worker, Faults& faults) {
    if (worker.ring_submissions <= worker.ring_completions) return;
    const bool written = faults.has({"ring_submissions"});
    faults.add({{written ? "ring_submissions" : "ring_completions"},
                fmt::format("`ring_submissions` ({}) is more than `ring_completions` ({})",
                            grouped(worker.ring_submissions), grouped(worker.ring_completions)),
                "the kernel wants at least as many completions as submissions"});
}

void check_zone_names(const std::vector<Zone>& zones, Faults& faults) {
    for (std::size_t i = 0; i < zones.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (zones[i].name.empty() || zones[j].name != zones[i].name) continue;
            faults.add({{"zone", i, "name"},
                        fmt::format("two zones have the name `{}`", zones[i].name),
                        "",
                        {"zone", j, "name"},
                        "the first one is here"});
            break;
        }
    }
}

void check_settings(const Settings& settings, Faults& faults) {
    if (settings.listeners.empty() && !faults.has({"listener"}))
        faults.add({{"listener"},
                    "there is no listener: nothing would be served",
                    "add [[listener]] with an address and a service"});
    if (settings.master.daemon && settings.log.target == "stderr")
        faults.add({{"master", "daemon"},
                    "`daemon` needs a file for the log: nobody reads standard error then",
                    "set log.target to a path"});
    check_addresses(settings.listeners, faults);
    check_zone_names(settings.zones, faults);
}

/// A name without a file would let in everybody: only files have permissions.
std::optional<Complaint> file_of_socket(const std::string& path) {
    if (!path.starts_with('@')) return {};
    return Complaint{"must be a file: an abstract name has no permissions",
                     "write a path, such as \"/run/echo.sock\""};
}

std::optional<Complaint> names_of_variables(
    const std::optional<std::vector<std::string>>& entries) {
    for (const std::string& entry : *entries)
        if (entry.starts_with('='))
            return Complaint{fmt::format("has an entry without a name: \"{}\"", entry),
                             "write \"NAME\" to keep a variable, \"NAME=VALUE\" to set it"};
    return {};
}

std::optional<Complaint> zero_or_long_enough(const Milliseconds& watchdog) {
    if (watchdog == Milliseconds{0} || watchdog >= limits::min_watchdog_ms) return {};
    return Complaint{fmt::format("must be 0 or at least {} ms", limits::min_watchdog_ms.count()),
                     "workers that only wait for the processor would be aborted"};
}

Table<Master> master_schema() {
    constexpr std::int64_t max_files = limits::max_open_files;
    return table<Master>("Processes and their times.")
        .field("workers", &Master::workers,
               "worker processes; \"auto\": as many as the processors this process may use")
        .field("drain_timeout_ms", &Master::drain_timeout,
               "how long a draining worker may finish what it serves; then it cuts the rest")
        .field("ready_timeout_ms", &Master::ready_timeout,
               "how long new workers may take to report ready; then a reload is given up",
               {.min = 1})
        .field("kill_timeout_ms", &Master::kill_timeout,
               "from telling a worker to terminate to killing it")
        .field("watchdog_ms", &Master::watchdog,
               "a worker that makes no progress for so long is aborted and respawned; 0: never", {},
               zero_or_long_enough)
        .field("build_timeout_ms", &Master::build_timeout,
               "how long reading, looking up and binding may take at a reload; then it is given up",
               {.min = 1})
        .field("upgrade_timeout_ms", &Master::upgrade_timeout,
               "the new binary of an upgrade serves within this, or the upgrade is undone",
               {.min = 1})
        .field("orphan_grace_ms", &Master::orphan_grace,
               "how long workers serve on when the master has died, if there is a control socket")
        .field("respawn_backoff_min_ms", &Master::respawn_backoff_min,
               "wait before the first respawn of a worker that died; doubles every time",
               {.min = 1})
        .field("respawn_backoff_max_ms", &Master::respawn_backoff_max, "the longest such wait",
               {.min = 1})
        .field("respawn_healthy_ms", &Master::respawn_healthy,
               "after a life this long a worker that died waits the shortest time again",
               {.min = 1})
        .field(
            "respawn_budget", &Master::respawn_budget,
            "respawns of workers that failed again, over all of them; when it is spent each waits "
            "half of respawn_backoff_max_ms or more. In that time one comes back",
            {.max = limits::max_respawn_budget})
        .field("shutdown_delay_ms", &Master::shutdown_delay,
               "how long a server that is told to drain still takes connections, and `ctl ready` "
               "fails, so that load balancers turn away first")
        .field("pid_file", &Master::pid_file, "holds the master's process id; \"\": none",
               {.max = max_path})
        .field("control", &Master::control,
               "the socket file of `ctl`, for the master's user alone; \"\": none",
               {.max = limits::max_unix_path_bytes}, file_of_socket)
        .field("user", &Master::user, "the workers' user, by name; \"\": the master's",
               {.max = max_name})
        .field("group", &Master::group, "the workers' group, by name; \"\": the user's",
               {.max = max_name})
        .field("open_files", &Master::open_files,
               "RLIMIT_NOFILE of every worker; 0: the soft limit is raised to the hard one",
               {.min = 0, .max = max_files})
        .field("core_size", &Master::core_size,
               "RLIMIT_CORE of every worker, which may then leave a core as `user`, too; not set: "
               "as the master's, and none with `user`")
        .field("daemon", &Master::daemon,
               "go into the background: the command returns when the server serves, or has failed")
        .field("working_directory", &Master::working_directory,
               "what relative paths start from, cores too; \"\": where the server is started",
               {.max = max_path})
        .field("environment", &Master::environment,
               "variables to keep (\"PATH\") and to set (\"TZ=UTC\"), and no other; not set: all",
               {.min = 1, .max = max_variable}, names_of_variables)
        .check(check_backoff)
        .check([](const Master& master, Faults& faults) {
            if (!master.group.empty() && master.user.empty())
                faults.add({{"group"}, "`group` has no effect without `user`"});
        });
}

Table<Worker> worker_schema() {
    const auto size = [](Bytes bytes) { return static_cast<std::int64_t>(bytes.count); };
    return table<Worker>("What one worker may use.")
        .field("driver", &Worker::driver,
               "what carries requests to the kernel; auto is io_uring, and epoll with a warning "
               "where io_uring is refused",
               Names<Driver>{{"auto", Driver::automatic},
                             {"io_uring", Driver::io_uring},
                             {"epoll", Driver::epoll}})
        .field("affinity", &Worker::affinity,
               "auto: each worker stays on one processor, which its slot tells; none: where the "
               "master may run",
               Names<Affinity>{{"none", Affinity::none}, {"auto", Affinity::automatic}})
        .field("nice", &Worker::nice,
               "priority, -20 first and 19 last; not set: the master's. One before that needs root",
               {.min = -20, .max = 19})
        .field("connections", &Worker::connections,
               "connections at a time, and one more for each further listener; others wait in the "
               "kernel",
               {.min = 1, .max = limits::max_worker_connections})
        .field("accept_backoff_ms", &Worker::accept_backoff,
               "pause after accept fails for lack of descriptors or memory", {.min = 1})
        .field("receive_buffers", &Worker::receive_buffers,
               "buffers the kernel fills, at the start, a power of two; more are added while all "
               "are in use",
               {.min = 1, .max = limits::max_receive_buffers}, power_of_two)
        .field("receive_buffer_size", &Worker::receive_buffer_size, "size of each of them",
               {.min = size(limits::min_receive_buffer_size),
                .max = size(limits::max_receive_buffer_size)})
        .field("ring_submissions", &Worker::ring_submissions,
               "submission queue entries; the kernel rounds up to a power of two",
               {.min = 1, .max = limits::max_ring_submissions})
        .field("ring_completions", &Worker::ring_completions,
               "completion queue entries, at least as many as ring_submissions",
               {.min = 1, .max = limits::max_ring_completions})
        .check(check_ring);
}

Table<Log> log_schema() {
    using enum log::Level;
    return table<Log>("Where log lines go and how they look.")
        .field("target", &Log::target, "\"stderr\", or the path of a file to append to",
               {.min = 1, .max = max_path})
        .field("level", &Log::level, "the least important lines to write",
               Names<log::Level>{
                   {"debug", debug}, {"info", info}, {"warning", warning}, {"error", error}})
        .field("format", &Log::format, "lines for people, or a JSON object a line",
               Names<log::Format>{{"text", log::Format::text}, {"json", log::Format::json}});
}

Table<Zone> zone_schema() {
    const auto size = [](Bytes bytes) { return static_cast<std::int64_t>(bytes.count); };
    return table<Zone>("Shared memory that all workers see; a reload and an upgrade keep it.")
        .field("name", &Zone::name,
               "unique; made of a-z, 0-9, `_`, `.` and `-`; `ringfort.` in front is reserved",
               {.required = true, .min = 1, .max = number(limits::max_zone_name_bytes)}, zone_name)
        .field("size", &Zone::size, "size of the memory",
               {.required = true,
                .min = size(limits::min_pool_zone_size),
                .max = size(limits::max_zone_size)})
        .field("noreuse", &Zone::noreuse, "each reload makes it anew: nothing in it goes on");
}

}  // namespace

bool operator==(const WorkerCount&, const WorkerCount&) noexcept = default;
bool operator==(const Master&, const Master&) noexcept = default;
bool operator==(const Worker&, const Worker&) noexcept = default;
bool operator==(const Log&, const Log&) noexcept = default;
bool operator==(const Zone&, const Zone&) noexcept = default;

bool Codec<WorkerCount>::read(const Input& input, WorkerCount& out) const {
    if (input.node.kind == Node::Kind::string) {
        if (input.node.string == "auto") {
            out.number.reset();
            return true;
        }
        std::int64_t meant = 0;
        const std::string& text = input.node.string;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), meant);
        const bool quoted = failure == std::errc{} && end == text.data() + text.size();
        return input.fail("must be \"auto\" or an integer",
                          input.write(quoted ? grouped(meant) : "\"auto\""));
    }
    if (input.node.kind != Node::Kind::integer)
        return input.wrong_type("\"auto\" or an integer", input.write("\"auto\""));
    std::int64_t value = 0;
    if (!read_integer(input, 1, limits::max_workers, value)) return false;
    out.number = static_cast<std::uint32_t>(value);
    return true;
}

const TableSchema& core_schema() {
    static const TableSchema schema =
        table<Settings>("The whole configuration.")
            .table("master", &Settings::master, master_schema())
            .table("worker", &Settings::worker, worker_schema())
            .table("sandbox", &Settings::sandbox, sandbox_schema())
            .table("log", &Settings::log, log_schema())
            .tables("listener", &Settings::listeners, listener_schema(),
                    {.min_items = 1, .max_items = limits::max_listeners})
            .tables("zone", &Settings::zones, zone_schema(), {.max_items = limits::max_zones})
            .foreign("service")
            .check(check_settings)
            .schema();
    return schema;
}

}  // namespace ringfort::config
