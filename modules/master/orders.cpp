module;
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
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

constexpr std::string_view known =
    "status, ready, zones, reload, reload --dry-run, upgrade, reopen, log-level LEVEL, quit, stop";
constexpr std::string_view log_level = "log-level";

std::string_view name_of(GenerationPhase phase) {
    switch (phase) {
        case GenerationPhase::starting:
            return "starts";
        case GenerationPhase::current:
            return "serves";
        case GenerationPhase::leaving:
            return "leaves";
    }
    return "";
}

std::string_view name_of(WorkerState state) {
    switch (state) {
        case WorkerState::none:
            return "none";
        case WorkerState::backing_off:
            return "backing off";
        case WorkerState::starting:
            return "starting";
        case WorkerState::ready:
            return "ready";
        case WorkerState::draining:
            return "draining";
        case WorkerState::terminating:
            return "terminating";
        case WorkerState::aborting:
            return "aborting";
        case WorkerState::killed:
            return "killed";
    }
    return "";
}

std::string seconds(Instant::duration duration) {
    return fmt::format("{:.1f} s", std::chrono::duration<double>{duration}.count());
}

/// What somebody else has written, as a terminal may have it.
std::string printable(std::string_view foreign) {
    std::string text;
    for (const char c : foreign) text += c >= ' ' && c <= '~' ? c : '?';
    return text;
}

}  // namespace

void Master::obey(const std::vector<ControlRequest>& requests) {
    for (const auto& [client, sender, order] : requests) {
        if (order == "status") {
            control_.answer(client, {.success = true, .text = status()}, now());
            continue;
        }
        if (order == "ready") {
            control_.answer(client, readiness(), now());
            continue;
        }
        if (order == "zones") {
            control_.answer(client, {.success = true, .text = zones()}, now());
            continue;
        }
        if (order == "adopt") {  // a start beside this master: it takes the pid file for a reason
            control_.answer(client, {.success = false, .text = "the master lives"}, now());
            continue;
        }
        log::info("order \"{}\" from process {}", printable(order), sender);
        if (order == "reload --dry-run") {
            rehearse(client);
        } else if (order == "reload") {
            reload_askers_.push_back(client);
            raise(event::Reload{});
        } else if (order == "upgrade") {
            upgrade_askers_.push_back(client);
            raise(event::Upgrade{});
        } else if (order == "reopen") {
            reopen_askers_.push_back(client);
            raise(event::Reopen{});
        } else if (order == log_level || order.starts_with(std::string{log_level} + ' ')) {
            const std::size_t end = std::min(order.size(), log_level.size() + 1);
            control_.answer(client, set_log_level(std::string_view{order}.substr(end)), now());
        } else if (order == "quit") {
            end_askers_.push_back(client);
            raise(event::Drain{});
        } else if (order == "stop") {
            end_askers_.push_back(client);
            raise(event::Terminate{});
        } else {
            control_.answer(client,
                            {.success = false,
                             .text = fmt::format("no order is called \"{}\"; there are {}",
                                                 printable(order), known)},
                            now());
        }
    }
}

/// Answers all of them, once.
void Master::answer(std::vector<std::uint64_t>& clients, bool success, const std::string& text) {
    for (const std::uint64_t client : std::exchange(clients, {}))
        control_.answer(client, {.success = success, .text = text}, now());
}

/// Tells those who wait for the reload under way what stands in its way.
void Master::answer_reload() {
    answer(reload_watchers_, false, fmt::format("{}", fmt::join(findings_, "\n")));
    if (served_ && !policy_.closing())
        manager_.ready(fmt::format("generation {} serves on; the last reload failed: {}",
                                   served_generation_, findings_.front()));
}

/// Tells those whose reload will not begin any more.
void Master::refuse_reloads() {
    answer(reload_askers_, false, "the master is stopping");
}

/// Keeps what stands in the way of the reload under way.
void Master::note_finding(std::string line) {
    if (findings_.size() < limits::max_findings) findings_.push_back(std::move(line));
}

/// Keeps what a new worker says or dies of. It may be hostile.
void Master::note_of_worker(WorkerId id, std::string_view what) {
    if (id.generation > served_generation_ && !generations_.at(id.generation).abandoned)
        note_finding(fmt::format("worker slot {}: {}", id.slot, printable(what)));
}

/// Has the processes that serve or drain log from this level on, until the next reload, or as they
/// are configured.
ControlAnswer Master::set_log_level(std::string_view name) {
    using enum log::Level;
    using Named = std::pair<std::string_view, std::optional<log::Level>>;
    constexpr std::array<Named, 5> levels{{{"debug", debug},
                                           {"info", info},
                                           {"warning", warning},
                                           {"error", error},
                                           {"configured", std::nullopt}}};
    const auto found = std::ranges::find(levels, name, &Named::first);
    if (found == levels.end())
        return {.success = false,
                .text = fmt::format("no level is called \"{}\"; there are debug, info, warning, "
                                    "error, and configured",
                                    printable(name))};
    if (!generations_.contains(served_generation_))
        return {.success = false, .text = "no generation serves"};
    log_level_ = found->second;
    log::configure({.level = level_of(served_generation_), .format = log::options().format});
    for (const auto& worker : roster_.workers())
        if (worker->id.generation <= served_generation_)
            send(*worker, channel::SetLogLevel{level_of(worker->id.generation)});
    return {.success = true, .text = ""};
}

/// Tells a load balancer's probe whether this server is to be counted on.
ControlAnswer Master::readiness() const {
    if (policy_.closing()) return {.success = false, .text = "the master is stopping"};
    if (!policy_.current_generation()) return {.success = false, .text = "no generation serves"};
    const std::uint32_t serving = policy_.serving();
    if (serving == 0) return {.success = false, .text = "no worker serves"};
    return {.success = true,
            .text = fmt::format("{} worker{} serve{}", serving, serving == 1 ? "" : "s",
                                serving == 1 ? "s" : "")};
}

/// Says what is in the zones, each of them once, whoever has it.
std::string Master::zones() const {
    std::string text;
    std::set<const shm::Zone*> told;
    for (auto found = generations_.rbegin(); found != generations_.rend(); ++found)
        for (const cycle::SharedZone& zone : found->second.cycle->zones()) {
            if (!told.insert(zone.get()).second) continue;
            if (found->first != served_generation_)
                fmt::format_to(std::back_inserter(text), "generation {}: ", found->first);
            text += describe(*zone, pools_.find(*zone));
        }
    return text;
}

/// Says what there is, a line for each generation and each worker.
std::string Master::status() const {
    const std::string_view end = policy_.stopping()  ? ", stopping"
                                 : policy_.closing() ? ", about to stop"
                                                     : "";
    std::string text = fmt::format("{}: master {}, up {}{}\n", application_.name, ::getpid(),
                                   seconds(now() - started_), end);
    for (const GenerationStatus& generation : policy_.status(now())) {
        fmt::format_to(std::back_inserter(text), "generation {} {}", generation.number,
                       name_of(generation.phase));
        const std::uint32_t budget =
            generations_.at(generation.number).cycle->settings().master.respawn_budget;
        if (generation.respawn_budget < budget)
            fmt::format_to(std::back_inserter(text), ", respawn budget: {} of {} left",
                           generation.respawn_budget, budget);
        text += '\n';
        for (std::uint32_t slot = 0; slot < generation.workers.size(); ++slot) {
            const WorkerStatus& worker = generation.workers[slot];
            auto out = fmt::format_to(std::back_inserter(text), "  worker {}: {} for {}", slot,
                                      name_of(worker.state), seconds(now() - worker.since));
            if (worker.state == WorkerState::backing_off)
                fmt::format_to(out, ", spawned again in {}", seconds(*worker.deadline - now()));
            if (worker.failures > 0)
                fmt::format_to(out, ", failures in a row: {}", worker.failures);
            if (slot < generation.lent.size() && generation.lent[slot])
                fmt::format_to(out, ", worker {} stands in", *generation.lent[slot]);
            const WorkerProcess* process = roster_.find({generation.number, slot});
            if (process != nullptr) {
                const Observation seen =
                    application_.observe(*generations_.at(generation.number).cycle, process->row);
                fmt::format_to(out, ", process {}, {} connections, {} accepted, {} failed",
                               process->process.pid, seen.active, seen.accepted, seen.failed);
                if (seen.datagrams > 0) fmt::format_to(out, ", {} datagrams", seen.datagrams);
            }
            text += '\n';
        }
        if (generation.orphans) text += "  sockets of workers that are no more are open\n";
    }
    return text;
}

}  // namespace ringfort::master
