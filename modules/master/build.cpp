module;
#include <fcntl.h>
#include <fmt/format.h>
#include <ringfort/try.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

namespace ringfort::master {
namespace {

std::string user_obstacle(const config::Master& master, const Error& error) {
    return "master.user " + master.user + ": " + error.text() + ".";
}

std::string control_obstacle(const config::Master& master, const Error& error) {
    return "control socket " + master.control + ": " + error.text() + ".";
}

/// Finds the user and group of the settings' names, now, while root can still read the databases.
Result<std::optional<process::Credentials>> find_credentials(const config::Master& master) {
    if (master.user.empty()) return std::optional<process::Credentials>{};
    auto found = process::Credentials::lookup(master.user, master.group);
    if (!found) return found.error();
    return std::optional{*std::move(found)};
}

/// Says what of [master] would keep a cycle from being built, without making anything.
std::vector<std::string> obstacles_of(const config::Master& master) {
    std::vector<std::string> obstacles;
    if (const auto credentials = find_credentials(master); !credentials)
        obstacles.push_back(user_obstacle(master, credentials.error()));
    const auto pid_file =
        master.pid_file.empty() ? Result<void>{} : process::PidFile::examine(master.pid_file);
    // Who holds it may be the master that is to read this configuration.
    if (!pid_file && !pid_file.error().is(std::errc::device_or_resource_busy))
        obstacles.push_back(pid_file_obstacle(master.pid_file, pid_file.error()));
    const auto control =
        master.control.empty() ? Result<void>{} : process::may_create(master.control);
    if (!control) obstacles.push_back(control_obstacle(master, control.error()));
    return obstacles;
}

/// Opens the control socket, for this user alone.
Result<std::shared_ptr<cycle::Listener>> open_control(const std::string& path) {
    RF_LET(const Address address, Address::parse("unix:" + path));
    RF_LET(auto door, cycle::Listener::open({.address = address,
                                             .service = {},
                                             .backlog = limits::control_clients,
                                             .mode = config::FileMode{0600}}));
    // The master waits for clients with poll(2): one that left before it was accepted must not
    // make it wait.
    const int flags = ::fcntl(door->socket().get(), F_GETFL);
    if (::fcntl(door->socket().get(), F_SETFL, flags | O_NONBLOCK) != 0)
        return Error::last("fcntl");
    return door;
}

}  // namespace

std::string pid_file_obstacle(const std::string& path, const Error& error) {
    if (!error.is(std::errc::device_or_resource_busy))
        return "pid file " + path + ": " + error.text() + ".";
    const auto pid = process::running_pid(path);
    const std::string who = pid ? "process " + std::to_string(*pid) : "another process";
    return "pid file " + path + ": " + who +
           " is already running with it. Stop it, or set another " + "master.pid_file.";
}

Timing timing_of(const config::Settings& settings) {
    const config::Master& master = settings.master;
    return {.ready_timeout = master.ready_timeout,
            .drain_timeout = master.drain_timeout,
            .kill_timeout = master.kill_timeout,
            .backoff_min = master.respawn_backoff_min,
            .backoff_max = master.respawn_backoff_max,
            .healthy = master.respawn_healthy,
            .respawn_budget = master.respawn_budget,
            .shutdown_delay = master.shutdown_delay,
            .watchdog = master.watchdog,
            .upgrade_timeout = master.upgrade_timeout};
}

std::uint32_t worker_count(const config::Settings& settings) {
    return std::min(settings.master.workers.number.value_or(process::available_cpus()),
                    limits::max_workers);
}

std::vector<std::string> lines_of(const config::Problems& problems) {
    std::vector<std::string> lines;
    for (const config::Problem& problem : problems.list)
        lines.push_back(problem.headline() +
                        (problem.help.empty() ? "" : " (" + problem.help + ")"));
    if (problems.left_out > 0) lines.push_back(fmt::format("and {} more", problems.left_out));
    return lines;
}

/// Builds the first generation, in this process: nobody is served yet who would have to wait.
void Master::build_first(config::Settings settings) {
    Generation generation;
    auto obstacles = prepare(generation, settings, ::getpid(), Purpose::to_serve);
    // The other master's sockets may look as if nobody had them: it may just be about to listen.
    if (generation.pid_file_is_held) return build_failed(obstacles);
    // What is inherited stays together until it is clear who has it.
    cycle::Stock stock{.groups = inheritance_.stock.groups,
                       .zones = inheritance_.stock.zones,
                       .made = {},
                       .log = {}};
    pools_.keep(stock.zones, predecessor_ && !orphaned_);
    pools_.watch(own_processes(), predecessor_.has_value());
    found(std::move(generation), std::move(settings), std::move(stock), std::move(obstacles));
}

/// Makes a generation of what is prepared, unless there are obstacles, and tells the policy.
void Master::found(Generation generation, config::Settings settings, cycle::Stock stock,
                   std::vector<std::string> obstacles) {
    raise_descriptors(settings);
    const cycle::BuildOptions options{
        .workers = worker_count(settings),
        .open_pool = [this](shm::Zone& zone) { return pools_.open(zone); }};
    const auto requests = application_.zones(settings);
    auto built = cycle::Cycle::build(std::move(settings), last_generation_ + 1, std::move(stock),
                                     requests, options);
    std::ranges::move(built.obstacles, std::back_inserter(obstacles));
    if (!obstacles.empty()) return build_failed(obstacles);
    generation.cycle = std::move(built.cycle);
    pools_.keep(generation.cycle->zones(), predecessor_ && !orphaned_);
    // Whoever has ended since a larger zone was made of another is still alive in it.
    pools_.watch(own_processes(), true);
    const config::Settings& taken = generation.cycle->settings();
    const std::uint32_t number = ++last_generation_;
    raise(event::CycleBuilt{.generation = number,
                            .workers = worker_count(taken),
                            .timing = timing_of(taken),
                            .slots = generation.cycle->slots(),
                            .orphans = !generation.cycle->orphans().empty(),
                            .inherited = inheritance_.complete});
    generations_.emplace(number, std::move(generation));
}

/// Finds and makes what a generation of `master` needs beside its cycle.
std::vector<std::string> Master::prepare(Generation& generation, const config::Settings& settings,
                                         pid_t master, Purpose purpose) const {
    std::vector<std::string> obstacles;
    auto credentials = find_credentials(settings.master);
    if (credentials)
        generation.credentials = *std::move(credentials);
    else
        obstacles.push_back(user_obstacle(settings.master, credentials.error()));
    const std::string& path = settings.master.pid_file;
    const bool other = !path.empty() && (!pid_file_ || pid_file_->path() != path);
    if (other && purpose == Purpose::to_tell) {
        const auto free = process::PidFile::examine(path);
        if (!free) obstacles.push_back(pid_file_obstacle(path, free.error()));
    } else if (other) {
        const auto& held = inheritance_.pid_file;
        auto file = held && held->path == path ? process::PidFile::succeed(path, held->file)
                                               : process::PidFile::create(path, master);
        if (file)
            generation.new_pid_file = *std::move(file);
        else
            obstacles.push_back(pid_file_obstacle(path, file.error()));
        generation.pid_file_is_held = !file && file.error().is(std::errc::device_or_resource_busy);
        if (generation.pid_file_is_held) return obstacles;
    }
    const std::string& control = settings.master.control;
    if (inheritance_.control && inheritance_.control->bound().path() == control) {
        generation.new_control = inheritance_.control;
    } else if (!control.empty() && control_.path() != control) {
        auto door = open_control(control);
        if (door)
            generation.new_control = *std::move(door);
        else
            obstacles.push_back(control_obstacle(settings.master, door.error()));
    }
    return obstacles;
}

void Master::build_failed(const std::vector<std::string>& obstacles) {
    for (const std::string& obstacle : obstacles)
        log::error("{}: {}", served_ ? "reload failed" : "start failed", obstacle);
    for (const std::string& obstacle : obstacles) note_finding(obstacle);
    answer_reload();
    give_up();
    raise(event::CycleFailed{});
}

std::vector<std::string> try_cycle(const Application& application, config::Settings settings) {
    std::vector<std::string> obstacles = obstacles_of(settings.master);
    const bool runs =
        !settings.master.pid_file.empty() && process::find_running(settings.master.pid_file);
    const cycle::BuildOptions options{
        .in_use = runs ? cycle::AddressInUse::is_allowed : cycle::AddressInUse::is_an_obstacle,
        .workers = worker_count(settings)};
    auto passed = cycle::accept_passed(process::take_passed_fds(), {});
    const auto requests = application.zones(settings);
    auto built =
        cycle::Cycle::build(std::move(settings), 1, std::move(passed.stock), requests, options);
    obstacles.insert(obstacles.end(), built.obstacles.begin(), built.obstacles.end());
    return obstacles;
}

}  // namespace ringfort::master
