module;
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ringfort/try.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
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

namespace ringfort::master {
namespace {

std::string user_obstacle(const config::Master& master, const Error& error) {
    return "master.user " + master.user + ": " + error.text() + ".";
}

std::string control_obstacle(const config::Master& master, const Error& error) {
    return "control socket " + master.control + ": " + error.text() + ".";
}

std::string pid_file_obstacle(const std::string& path, const Error& error) {
    if (!error.is(std::errc::device_or_resource_busy))
        return "pid file " + path + ": " + error.text() + ".";
    const auto pid = process::running_pid(path);
    const std::string who = pid ? "process " + std::to_string(*pid) : "another process";
    return "pid file " + path + ": " + who +
           " is already running with it. Stop it, or set another " + "master.pid_file.";
}

/// Tells whether a file can be made there, without making it; errno says what is in the way.
bool folder_is_open(const std::string& path) noexcept {
    const std::string folder =
        path.find('/') == path.npos ? "." : path.substr(0, path.rfind('/') + 1);
    return ::access(folder.c_str(), W_OK | X_OK) == 0;
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
    const bool pid_file = !master.pid_file.empty() && !folder_is_open(master.pid_file);
    if (pid_file) obstacles.push_back(pid_file_obstacle(master.pid_file, Error::last("access")));
    if (!master.control.empty() && !folder_is_open(master.control))
        obstacles.push_back(control_obstacle(master, Error::last("access")));
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

/// Gives the master, which holds descriptors for all workers, as many as it may have, and warns
/// when a worker cannot have what the settings promise.
void raise_descriptors(const config::Settings& settings) {
    const auto most = process::set_open_files(0);
    if (!most) return log::warning("{}", most.error().text());
    const std::uint64_t wanted = settings.master.open_files;
    if (wanted > *most)
        log::warning("master.open_files is {}, but no more than {} are allowed", wanted, *most);
    constexpr std::uint64_t reserve = 64;  // ring, channels, listeners, zones, log
    const std::uint64_t given = wanted == 0 ? *most : std::min(wanted, *most);
    if (given < settings.worker.connections + reserve)
        log::warning(
            "worker.connections is {}, but a worker may open {} files: raise master.open_files or "
            "the hard limit, or lower worker.connections",
            settings.worker.connections, given);
}

}  // namespace

Timing timing_of(const config::Settings& settings) {
    const config::Master& master = settings.master;
    return {.ready_timeout = master.ready_timeout,
            .drain_timeout = master.drain_timeout,
            .kill_timeout = master.kill_timeout,
            .backoff_min = master.respawn_backoff_min,
            .backoff_max = master.respawn_backoff_max,
            .healthy = master.respawn_healthy,
            .watchdog = master.watchdog};
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

/// Builds a generation from `settings` and tells the policy how it went.
void Master::build(config::Settings settings) {
    raise_descriptors(settings);
    Generation generation;
    std::vector<std::string> obstacles = prepare(generation, settings);
    if (obstacles.empty()) {
        const auto current = policy_.current_generation();
        const cycle::Cycle* old = current ? generations_.at(*current).cycle.get() : nullptr;
        const std::uint32_t workers = worker_count(settings);
        auto built =
            cycle::Cycle::build(std::move(settings), last_generation_ + 1, old, application_.zones,
                                cycle::AddressInUse::is_an_obstacle, workers);
        obstacles = std::move(built.obstacles);
        generation.cycle = std::move(built.cycle);
    }
    if (!obstacles.empty()) return build_failed(obstacles);
    const config::Settings& taken = generation.cycle->settings();
    const std::uint32_t number = ++last_generation_;
    raise(event::CycleBuilt{.generation = number,
                            .workers = worker_count(taken),
                            .timing = timing_of(taken),
                            .slots = generation.cycle->slots(),
                            .orphans = !generation.cycle->orphans().empty()});
    generations_.emplace(number, std::move(generation));
}

std::vector<std::string> Master::prepare(Generation& generation, const config::Settings& settings) {
    std::vector<std::string> obstacles;
    auto credentials = find_credentials(settings.master);
    if (credentials)
        generation.credentials = *std::move(credentials);
    else
        obstacles.push_back(user_obstacle(settings.master, credentials.error()));
    const std::string& path = settings.master.pid_file;
    if (!path.empty() && (!pid_file_ || pid_file_->path() != path)) {
        auto file = process::PidFile::create(path);
        if (file)
            generation.new_pid_file = *std::move(file);
        else
            obstacles.push_back(pid_file_obstacle(path, file.error()));
    }
    const std::string& control = settings.master.control;
    if (!control.empty() && control_.path() != control) {
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
    raise(event::CycleFailed{});
}

/// Does what a reload would, but for starting workers, and takes it down again. What it opens is
/// really opened, for a moment; a log file that it has to create stays, empty.
ControlAnswer Master::rehearse() {
    const auto current = policy_.current_generation();
    if (!current) return {.success = false, .text = "no generation serves"};
    if (last_generation_ > served_generation_ && generations_.contains(last_generation_) &&
        !generations_.at(last_generation_).abandoned)
        return {.success = false, .text = "a reload is under way"};
    const cycle::Cycle& old = *generations_.at(*current).cycle;
    auto parsed = application_.load();
    if (!parsed)
        return {.success = false,
                .text = fmt::format("{}", fmt::join(lines_of(parsed.problems()), "\n"))};
    std::vector<std::string> lines = application_.changes(old.settings(), *parsed);
    Generation tried;
    std::vector<std::string> obstacles = prepare(tried, *parsed);
    const std::uint32_t workers = worker_count(*parsed);
    const auto built = cycle::Cycle::build(*std::move(parsed), 0, &old, application_.zones,
                                           cycle::AddressInUse::is_an_obstacle, workers);
    obstacles.insert(obstacles.end(), built.obstacles.begin(), built.obstacles.end());
    if (!obstacles.empty())
        return {.success = false, .text = fmt::format("{}", fmt::join(obstacles, "\n"))};
    const auto more = cycle::changes(old, *built.cycle);
    lines.insert(lines.end(), more.begin(), more.end());
    return {.success = true, .text = fmt::format("{}", fmt::join(lines, "\n"))};
}

std::vector<std::string> try_cycle(const Application& application, config::Settings settings) {
    std::vector<std::string> obstacles = obstacles_of(settings.master);
    const bool runs =
        !settings.master.pid_file.empty() && process::find_running(settings.master.pid_file);
    const auto allow = runs ? cycle::AddressInUse::is_allowed : cycle::AddressInUse::is_an_obstacle;
    const std::uint32_t workers = worker_count(settings);
    auto built =
        cycle::Cycle::build(std::move(settings), 1, nullptr, application.zones, allow, workers);
    obstacles.insert(obstacles.end(), built.obstacles.begin(), built.obstacles.end());
    return obstacles;
}

}  // namespace ringfort::master
