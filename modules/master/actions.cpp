module;
#include <fmt/format.h>
#include <ringfort/try.h>

#include <array>
#include <chrono>
#include <compare>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

namespace ringfort::master {
namespace {

std::string_view text_of(Obstacle obstacle) {
    switch (obstacle) {
        case Obstacle::none:
        case Obstacle::cycle:
            return "its cycle could not be built";
        case Obstacle::spawn:
            return "a worker could not be spawned";
        case Obstacle::worker_exited:
            return "a worker ended before it was ready";
        case Obstacle::ready_timeout:
            return "a worker was not ready within master.ready_timeout_ms";
        case Obstacle::stopping:
            return "the master is stopping";
    }
    return "";
}

/// Gives this process the environment of the settings.
void adjust_environment(const process::Environment& environment, const config::Master& settings) {
    const auto adjusted = environment.apply(settings.environment);
    if (!adjusted) log::error("master.environment: {}", adjusted.error().text());
}

/// What the child does before any message reaches it: logs as itself, within its own limits.
void become_worker(WorkerId id, const cycle::Cycle& cycle, log::Level level) {
    log::configure({.level = level, .format = cycle.settings().log.format});
    log::identify({.role = "worker", .generation = id.generation, .slot = id.slot});
    // The number is taken over: in the child nobody destroys the cycle that owns it.
    log::write_to(Fd{cycle.log_file().get()});
    log::let_go_of_standard_error();  // a worker's log is a file, or standard error, for life
    process::trace_aborts();
    const config::Master& master = cycle.settings().master;
    const auto limited = process::set_open_files(master.open_files);
    if (!limited) log::warning("{}", limited.error().text());
    if (master.core_size) {
        const auto core = process::set_core_size(master.core_size->count);
        if (!core)
            log::warning("master.core_size: {}", core.error().text());
        else if (*core < master.core_size->count)
            log::warning("master.core_size is {}, but no more than {} are allowed",
                         master.core_size->text(), Bytes{*core}.text());
    }
    const config::Worker& worker = cycle.settings().worker;
    if (worker.affinity == config::Affinity::automatic)
        if (const auto stays = process::stay_on_processor(id.slot); !stays)
            log::warning("worker.affinity: {}", stays.error().text());
    if (worker.nice)
        if (const auto set = process::set_nice(*worker.nice); !set)
            log::warning("worker.nice {}: {}", *worker.nice, set.error().text());
}

}  // namespace

void Master::carry_out(const action::BuildCycle&) {
    log::info("reload: reading the configuration");
    manager_.reloading(now());
    findings_.clear();
    reload_watchers_.insert(reload_watchers_.end(), reload_askers_.begin(), reload_askers_.end());
    reload_askers_.clear();
    begin_build();
}

void Master::carry_out(const action::AbortBuild&) {
    if (std::exchange(build_waits_, false)) build_failed({"the master is stopping"});
    if (build_) build_->abort("the master is stopping");
}

void Master::carry_out(const action::Spawn& action) {
    const auto spawned = spawn(action.worker, generations_.at(action.worker.generation));
    if (spawned) return;
    log::error("worker slot {} of generation {} cannot be spawned: {}", action.worker.slot,
               action.worker.generation, spawned.error().text());
    raise(event::SpawnFailed{action.worker});
}

Result<void> Master::spawn(WorkerId id, const Generation& generation) {
    const auto row = free_row();
    if (!row) return Error{"find a row of counters", std::errc::resource_unavailable_try_again};
    RF_LET(auto ends, channel::Channel::pair());
    auto& [mine, theirs] = ends;
    const cycle::Cycle& cycle = *generation.cycle;
    const std::array keep{theirs.fd(), cycle.log_file().get()};
    const std::string title = application_.name + ": worker " + std::to_string(id.slot) +
                              " (generation " + std::to_string(id.generation) + ")";
    RF_LET(auto child,
           process::spawn({.name = title, .keep = keep, .blocked = handled_signals}, [&] {
               become_worker(id, cycle, level_of(id.generation));
               adjust_environment(environment_, cycle.settings().master);
               return application_.worker({.to_master = std::move(theirs),
                                           .settings = cycle.settings(),
                                           .credentials = generation.credentials});
           }));
    log::debug("worker slot {} of generation {} is process {}", id.slot, id.generation, child.pid);
    const std::uint64_t identity = process::identify(child.pid);
    pools_.admit(*row, {.slot = id.slot, .generation = id.generation, .process = identity});
    WorkerProcess& worker = roster_.add({.id = id,
                                         .process = std::move(child),
                                         .channel = std::move(mine),
                                         .row = *row,
                                         .identity = identity});
    show_door(worker, generation);
    equip(worker);
    return {};
}

/// Returns a row that nobody has, neither of the counters nor in any pool. A pool whose table of
/// owners is corrupted keeps nobody from being started: who is not admitted there does without.
std::optional<std::uint32_t> Master::free_row() {
    const auto is_free = [this](std::uint32_t row) { return pools_.is_free(row); };
    if (const auto row = roster_.free_row(is_free)) return row;
    pools_.watch(own_processes(), true);  // buries whoever has ended
    const auto row = roster_.free_row(is_free);
    return row ? row : roster_.free_row();
}

/// Returns the processes whose ends this master learns of by itself.
std::vector<std::uint64_t> Master::own_processes() const {
    std::vector<std::uint64_t> own{process::identify(::getpid())};  // and of its builders
    for (const auto& worker : roster_.workers()) own.push_back(worker->identity);
    return own;
}

/// Gives a new worker the control socket, where another master will look for it if this one dies.
void Master::show_door(WorkerProcess& worker, const Generation& generation) {
    const auto& door = generation.new_control ? generation.new_control : control_.door();
    if (!door || generation.cycle->settings().master.control.empty()) return;
    if (inheritance_.complete) return;  // still the predecessor's: shown when that is over
    const auto shown = offer(*door, true, through(worker.channel));
    if (!shown)
        log::warning("worker slot {} of generation {} will not be found by another master: {}",
                     worker.id.slot, worker.id.generation, shown.error().text());
}

/// Sends a worker what it still needs, as far as its channel has room for that now.
void Master::equip(WorkerProcess& worker) {
    if (worker.told_to_end) return;  // its generation may have let go of its listeners
    const cycle::Cycle& cycle = *generations_.at(worker.id.generation).cycle;
    const channel::Start start{.slot = worker.id.slot,
                               .generation = worker.id.generation,
                               .row = worker.row,
                               .drain_timeout = cycle.settings().master.drain_timeout};
    const auto equipped = master::equip(worker.channel, cycle, start, worker.equipped);
    if (equipped) return;
    log::error("worker slot {} of generation {} cannot be equipped: {}", worker.id.slot,
               worker.id.generation, equipped.error().text());
    worker.told_to_end = true;
    (void)process::send_signal(worker.process.pidfd, SIGKILL);  // its exit goes the usual way
}

void Master::carry_out(const action::Introduce& action) {
    WorkerProcess* worker = roster_.find(action.worker);
    WorkerProcess* peer = roster_.find(action.peer);
    if (worker == nullptr || peer == nullptr) return;
    auto ends = channel::Channel::pair();
    if (!ends)
        return log::warning("workers {} and {} get no channel: {}", action.worker.slot,
                            action.peer.slot, ends.error().text());
    send(*worker, channel::OpenPeer{.slot = peer->id.slot, .generation = peer->id.generation},
         std::move(ends->first).release());
    send(*peer, channel::OpenPeer{.slot = worker->id.slot, .generation = worker->id.generation},
         std::move(ends->second).release());
}

void Master::carry_out(const action::Part& action) {
    if (WorkerProcess* worker = roster_.find(action.worker))
        send(*worker,
             channel::ClosePeer{.slot = action.peer.slot, .generation = action.peer.generation});
}

void Master::carry_out(const action::DrainWorker& action) {
    WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    worker->told_to_end = true;
    send(*worker, channel::Drain{action.timeout});
}

void Master::carry_out(const action::TerminateWorker& action) {
    WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    worker->told_to_end = true;
    send(*worker, channel::Terminate{});
}

void Master::carry_out(const action::KillWorker& action) {
    WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    log::warning("worker slot {} (pid {}) of generation {} did not end in time: killed",
                 worker->id.slot, worker->process.pid, worker->id.generation);
    (void)process::send_signal(worker->process.pidfd, SIGKILL);
}

void Master::carry_out(const action::CheckPulse& action) {
    const WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    const Generation& generation = generations_.at(action.worker.generation);
    Instant last = application_.observe(*generation.cycle, worker->row).pulse;
    const bool overdue = now() - last >= generation.cycle->settings().master.watchdog;
    // Whoever debugs a worker stops it, and wants to see what it does next; others stand in for it.
    if (overdue && process::is_traced(worker->process.pid))
        last = now() - generation.cycle->settings().master.watchdog / 2;
    raise(event::Pulse{action.worker, last});
}

void Master::carry_out(const action::AbortWorker& action) {
    const WorkerProcess* worker = roster_.find(action.worker);
    if (worker == nullptr) return;
    log::error(
        "worker slot {} (pid {}) of generation {} has made no progress for {} ms: aborted. {}",
        worker->id.slot, worker->process.pid, worker->id.generation, action.silence.count(),
        process::describe(worker->process.pid));
    (void)process::send_signal(worker->process.pidfd, SIGABRT);
}

void Master::carry_out(const action::Commit& action) {
    Generation& generation = generations_.at(action.generation);
    const cycle::Cycle& cycle = *generation.cycle;
    give_new_listeners(action.generation);
    log_level_.reset();
    use_log(cycle);
    adjust_environment(environment_, cycle.settings().master);
    log::identify({.role = "master", .generation = action.generation});
    for (const std::string& text : generation.shortcomings.texts()) log::warning("{}", text);
    for (const cycle::Binding& binding : cycle.bindings())
        if (!binding.carried_over)
            log::info("listening on {} (service {})", binding.first().text(),
                      binding.settings.service);
    for (auto& [number, other] : generations_)
        if (number < action.generation) other.cycle->close_listeners();
    served_generation_ = action.generation;
    succeed();
    const std::uint32_t workers = worker_count(cycle.settings());
    const std::string serves =
        fmt::format("generation {} serves, {} workers", action.generation, workers);
    manager_.ready(serves);
    if (std::exchange(served_, true)) {
        log::info("reload: {}", serves);
        return answer(reload_watchers_, true, serves);
    }
    log::info("ready: generation {}, {} workers", action.generation, workers);
    if (application_.serving) application_.serving(cycle);
}

void Master::carry_out(const action::Abandon& action) {
    const auto level = action.obstacle == Obstacle::stopping ? log::Level::info : log::Level::error;
    log::write_at(level, "{}: {}", served_ ? "reload failed" : "start failed",
                  text_of(action.obstacle));
    note_finding(std::string{text_of(action.obstacle)});
    answer_reload();
    give_up();
    Generation& generation = generations_.at(action.generation);
    generation.cycle->close_listeners();
    generation.new_pid_file.reset();
    generation.new_control.reset();
    generation.abandoned = true;
}

void Master::carry_out(const action::Release& action) {
    generations_.erase(action.generation);
    pools_.release();
}

void Master::carry_out(const action::Postpone& action) {
    log::warning("worker slot {} of generation {} is respawned in {} ms (failure {} in a row{})",
                 action.worker.slot, action.worker.generation, action.delay.count(),
                 action.failures,
                 action.budget_spent ? ", and master.respawn_budget is spent" : "");
}

void Master::carry_out(const action::ReopenLogs&) {
    std::string problems;
    const auto report = [&](std::string problem) {
        log::error("{}", problem);
        problems += problem + "\n";
    };
    for (auto& [number, generation] : generations_) {
        const auto reopened = generation.cycle->reopen_log();
        if (!reopened)
            report(fmt::format("the log {} stays as it is: {}",
                               generation.cycle->settings().log.target, reopened.error().text()));
    }
    reopened_again_ = build_.has_value();
    if (successor_) (void)successor_->channel.send(channel::ReopenLogs{});
    const auto served = generations_.find(served_generation_);  // while stopping none is current
    if (served != generations_.end()) use_log(*served->second.cycle);
    for (const auto& worker : roster_.workers()) {
        const Fd& file = generations_.at(worker->id.generation).cycle->log_file();
        auto copy = file ? file.duplicate() : Result<Fd>{Fd{}};
        if (copy)
            send(*worker, channel::ReopenLogs{}, *std::move(copy));
        else
            report(fmt::format("worker slot {} keeps its old log: {}", worker->id.slot,
                               copy.error().text()));
    }
    log::info("logs reopened");
    answer(reopen_askers_, problems.empty(), problems);
}

void Master::carry_out(const action::Refuse&) {
    log::warning("reload refused: the master is stopping");
    refuse_reloads();
}

void Master::carry_out(const action::Exit& action) {
    serve_predecessor();  // it may have left all to this one meanwhile
    pid_file_.reset();
    exit_code_ = action.code;
    answer(end_askers_, true, "");
    control_.end();
}

void Master::send(WorkerProcess& worker, const channel::Message& message, channel::Fds fds) {
    const auto sent = worker.channel.send(message, std::move(fds));
    if (!sent)
        log::debug("{} to worker slot {}: {}", channel::kind(message).name, worker.id.slot,
                   sent.error().text());
}

void Master::carry_out(const action::AnnounceStop&) {
    const Milliseconds delay = current_cycle()->settings().master.shutdown_delay;
    log::info("stopping: not ready any more, and draining in {} ms (master.shutdown_delay_ms)",
              delay.count());
    announce_stop();
}

/// Gives the files of a generation that serves their names.
void Master::place_files(Generation& generation) {
    const config::Master& settings = generation.cycle->settings().master;
    if (generation.new_pid_file) {
        const auto placed = generation.new_pid_file->take_place();
        if (!placed) log::error("{}", pid_file_obstacle(settings.pid_file, placed.error()));
        pid_file_ = std::exchange(generation.new_pid_file, std::nullopt);
    } else if (settings.pid_file.empty()) {
        pid_file_.reset();
    }
    if (generation.new_control)
        control_.listen(std::move(generation.new_control));
    else if (settings.control.empty())
        control_.listen(nullptr);
}

/// Returns the level at which the processes of a generation log.
log::Level Master::level_of(std::uint32_t generation) const {
    if (log_level_ && generation <= served_generation_) return *log_level_;
    return generations_.at(generation).cycle->settings().log.level;
}

void Master::use_log(const cycle::Cycle& cycle) {
    const config::Log& settings = cycle.settings().log;
    log::configure({.level = log_level_.value_or(settings.level), .format = settings.format});
    if (!cycle.log_file()) return log::write_to(Fd{});
    if (auto file = cycle.log_file().duplicate())
        log::write_to(*std::move(file));
    else
        log::error("the log stays as it is: {}", file.error().text());
}

}  // namespace ringfort::master
