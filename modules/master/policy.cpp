module;
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;

namespace ringfort::master {

Actions Policy::step(const Event& event, Instant time) {
    time_ = time;
    if (!exited_) {
        std::visit([this](const auto& one) { on(one); }, event);
        settle();
    }
    return std::exchange(actions_, {});
}

void Policy::on(const event::CycleBuilt& event) {
    building_ = false;
    if (closing()) {
        actions_.push_back(action::Abandon{event.generation, Obstacle::stopping});
        actions_.push_back(action::Release{event.generation});
        return;
    }
    hurry_oldest();
    generations_.push_back({.number = event.generation,
                            .phase = Phase::starting,
                            .timing = event.timing,
                            .workers = std::vector<Worker>(event.workers),
                            .lent = std::vector<std::optional<std::uint32_t>>(event.slots),
                            .orphans = event.orphans,
                            .inherited = event.inherited,
                            .orphans_due = {},
                            .budget_whole = time_});
    for (std::uint32_t slot = 0; slot < event.workers; ++slot) spawn(generations_.back(), slot);
}

void Policy::on(const event::CycleFailed&) {
    building_ = false;
    if (!ever_served_) stop(Stopping::terminating);
    next_reload();
}

void Policy::on(const event::SpawnFailed& event) {
    Generation* generation = find(event.worker.generation);
    Worker* worker = find(event.worker);
    if (worker == nullptr || !worker->alive()) return;
    if (worker->state == State::ready || worker->state == State::draining) return;
    // Told to end or even killed meanwhile, it still never was: nobody else will report its end.
    worker->state = State::none;
    worker->deadline.reset();
    if (generation->phase == Phase::starting)
        abandon(*generation, Obstacle::spawn);
    else if (generation->phase == Phase::current)
        postpone(*generation, event.worker.slot);
}

void Policy::on(const event::WorkerReady& event) {
    Generation* generation = find(event.worker.generation);
    Worker* worker = find(event.worker);
    if (worker == nullptr || worker->state != State::starting) return;
    worker->state = State::ready;
    worker->since = time_;
    worker->deadline.reset();
    trust(*worker, *generation);
    for (std::uint32_t slot = 0; slot < generation->workers.size(); ++slot)
        if (slot != event.worker.slot && generation->workers[slot].state == State::ready)
            actions_.push_back(action::Introduce{event.worker, {generation->number, slot}});
    const bool complete = std::ranges::all_of(
        generation->workers, [](const Worker& one) { return one.state == State::ready; });
    if (generation->phase == Phase::starting && complete) commit(*generation);
}

void Policy::on(const event::WorkerExited& event) {
    Generation* generation = find(event.worker.generation);
    Worker* worker = find(event.worker);
    if (worker == nullptr || !worker->alive()) return;
    const bool introduced = worker->state != State::starting;
    if (worker->state == State::ready && time_ - worker->since >= generation->timing.healthy)
        worker->failures = 0;
    worker->state = State::none;
    worker->deadline.reset();
    worker->check.reset();
    for (std::uint32_t slot = 0; introduced && slot < generation->workers.size(); ++slot)
        if (generation->workers[slot].state == State::ready ||
            generation->workers[slot].state == State::draining)
            actions_.push_back(action::Part{{generation->number, slot}, event.worker});
    if (generation->phase == Phase::starting)
        abandon(*generation, Obstacle::worker_exited);
    else if (generation->phase == Phase::current)
        postpone(*generation, event.worker.slot);
}

/// A worker without progress is aborted: whatever holds it would hold it for ever.
void Policy::on(const event::Pulse& event) {
    const Generation* generation = find(event.worker.generation);
    Worker* worker = find(event.worker);
    if (worker == nullptr || !worker->watched()) return;
    const Timing& timing = generation->timing;
    // What a broken zone says of the future counts as now.
    const Instant told = std::min(event.last, time_);
    const Instant last = std::max(told, worker->trusted_until);
    worker->overdue = time_ - last >= patience(*generation);
    if (time_ - last < timing.watchdog) {
        worker->suspected.reset();
        worker->check = worker->overdue
                            ? std::min(last + timing.watchdog,
                                       time_ + timing.watchdog / limits::pulses_per_watchdog)
                            : last + patience(*generation);
        return;
    }
    // Perhaps all were stopped together until just now: who goes on shows it by the next look.
    if (std::exchange(worker->suspected, last) != last) {
        worker->check = time_ + timing.watchdog / limits::pulses_per_watchdog;
        return;
    }
    if (worker->state == State::ready && told - worker->since >= timing.healthy)
        worker->failures = 0;
    worker->state = State::aborting;
    worker->since = time_;
    worker->check.reset();
    worker->deadline = time_ + timing.kill_timeout;
    actions_.push_back(
        action::AbortWorker{event.worker, std::chrono::duration_cast<Milliseconds>(time_ - last)});
}

void Policy::on(const event::Reload&) {
    if (closing())
        actions_.push_back(action::Refuse{});
    else if (busy() || full_until() > time_)
        reload_again_ = true;  // any number of requests meanwhile make one more reload
    else {
        building_ = true;
        actions_.push_back(action::BuildCycle{});
    }
}

void Policy::on(const event::Reopen&) {
    actions_.push_back(action::ReopenLogs{});
}

void Policy::on(const event::Tick&) {
    if (drain_at_ && *drain_at_ <= time_) stop(Stopping::draining);
    if (upgrade_deadline_ && *upgrade_deadline_ <= time_) {
        upgrade_deadline_.reset();
        if (upgrade_ == Upgrade::starting)
            end_successor();
        else
            actions_.push_back(action::KillSuccessor{});
    }
    for (Generation& generation : generations_)
        for (std::uint32_t slot = 0; slot < generation.workers.size(); ++slot) {
            Worker& worker = generation.workers[slot];
            if (worker.deadline && *worker.deadline <= time_) expire(generation, slot);
            if (worker.check && *worker.check <= time_) check(generation, slot, worker);
        }
    if (Generation* current = in_phase(Phase::current)) check_orphans(*current);
}

Policy::Generation* Policy::find(std::uint32_t number) {
    const auto found = std::ranges::find(generations_, number, &Generation::number);
    return found == generations_.end() ? nullptr : &*found;
}

Policy::Worker* Policy::find(WorkerId id) {
    Generation* generation = find(id.generation);
    return generation != nullptr && id.slot < generation->workers.size()
               ? &generation->workers[id.slot]
               : nullptr;
}

Policy::Generation* Policy::in_phase(Phase phase) {
    return const_cast<Generation*>(std::as_const(*this).in_phase(phase));
}

void Policy::spawn(Generation& generation, std::uint32_t slot) {
    Worker& worker = generation.workers[slot];
    worker.state = State::starting;
    worker.since = time_;
    worker.deadline = time_ + generation.timing.ready_timeout;
    actions_.push_back(action::Spawn{{generation.number, slot}});
}

/// Gives a generation up. Those of its workers that are ready have accepted connections, which are
/// not to be lost where somebody served before it.
void Policy::abandon(Generation& generation, Obstacle obstacle) {
    actions_.push_back(action::Abandon{generation.number, obstacle});
    generation.phase = Phase::leaving;
    const bool gently = ever_served_ || generation.inherited;
    gently ? drain(generation) : terminate(generation);
    if (!ever_served_) stop(gently ? Stopping::draining : Stopping::terminating);
    next_reload();
}

void Policy::commit(Generation& generation) {
    if (Generation* old = in_phase(Phase::current)) {
        old->phase = Phase::leaving;
        actions_.push_back(action::Commit{generation.number});
        drain(*old);
    } else {
        actions_.push_back(action::Commit{generation.number});
    }
    generation.phase = Phase::current;
    if (generation.orphans) generation.orphans_due = time_ + generation.timing.orphan_linger;
    ever_served_ = true;
    taking_over_ = generation.inherited;
    next_reload();
}

void Policy::drain(Generation& generation) {
    const Timing& timing = generation.timing;
    for (std::uint32_t slot = 0; slot < generation.workers.size(); ++slot) {
        Worker& worker = generation.workers[slot];
        if (worker.state == State::ready) {
            worker.state = State::draining;
            worker.since = time_;
            // The worker keeps the time limit itself; this is for one that does not.
            worker.deadline = time_ + timing.drain_timeout + timing.kill_timeout;
            actions_.push_back(
                action::DrainWorker{{generation.number, slot}, timing.drain_timeout});
        } else if (worker.state == State::starting || worker.state == State::backing_off) {
            terminate(generation, slot);
        }
    }
}

void Policy::terminate(Generation& generation) {
    for (std::uint32_t slot = 0; slot < generation.workers.size(); ++slot)
        terminate(generation, slot);
}

void Policy::terminate(Generation& generation, std::uint32_t slot) {
    Worker& worker = generation.workers[slot];
    if (!worker.alive()) {
        worker.state = State::none;
        worker.deadline.reset();
    } else if (worker.state < State::terminating) {
        worker.state = State::terminating;
        worker.since = time_;
        worker.check.reset();
        worker.deadline = time_ + generation.timing.kill_timeout;
        actions_.push_back(action::TerminateWorker{{generation.number, slot}});
    }
}

/// Acts on a worker whose deadline has passed.
void Policy::expire(Generation& generation, std::uint32_t slot) {
    Worker& worker = generation.workers[slot];
    worker.deadline.reset();
    switch (worker.state) {
        case State::backing_off:
            spawn(generation, slot);
            break;
        case State::starting:
            if (generation.phase == Phase::starting) {
                abandon(generation, Obstacle::ready_timeout);
                break;
            }
            [[fallthrough]];  // a respawned worker that hangs: it goes, and its exit respawns it
        case State::draining:
            terminate(generation, slot);
            break;
        case State::terminating:
        case State::aborting:
            worker.state = State::killed;
            worker.since = time_;
            actions_.push_back(action::KillWorker{{generation.number, slot}});
            break;
        case State::none:
        case State::ready:
        case State::killed:
            break;
    }
}

/// Takes a worker to make progress now: its watchdog begins anew.
void Policy::trust(Worker& worker, const Generation& generation) {
    worker.trusted_until = time_;
    worker.suspected.reset();
    worker.overdue = false;
    if (generation.timing.watchdog > Milliseconds{0}) worker.check = time_ + patience(generation);
}

/// Has the pulse of a worker looked at that may be overdue.
void Policy::check(const Generation& generation, std::uint32_t slot, Worker& worker) {
    const Instant due = *std::exchange(worker.check, std::nullopt);
    // Late by so much, the master was stopped itself, and perhaps all were: nobody is to blame.
    if (time_ - due >= generation.timing.watchdog / limits::pulses_per_watchdog)
        return trust(worker, generation);
    actions_.push_back(action::CheckPulse{{generation.number, slot}});
}

/// Makes room for one more generation: the oldest one that drains is ended at once.
void Policy::hurry_oldest() {
    if (generations_.size() < limits::max_generations) return;
    for (Generation& generation : generations_) {
        const bool waits = std::ranges::any_of(
            generation.workers, [](const Worker& one) { return one.state == State::draining; });
        if (generation.phase == Phase::leaving && waits) return terminate(generation);
    }
}

void Policy::next_reload() {
    if (std::exchange(reload_again_, false)) on(event::Reload{});
}

/// Drops generations without processes, begins the reload that has waited for that, and ends when
/// stopping has nothing left to wait for.
void Policy::settle() {
    if (Generation* current = in_phase(Phase::current)) dispatch(*current);
    std::erase_if(generations_, [this](const Generation& generation) {
        const bool empty =
            std::ranges::none_of(generation.workers, [](const Worker& one) { return one.alive(); });
        if (generation.phase != Phase::leaving || !empty) return false;
        actions_.push_back(action::Release{generation.number});
        return true;
    });
    if (!busy()) next_reload();
    if (stopping() && generations_.empty() && !building_ && !has_successor()) {
        exited_ = true;
        actions_.push_back(action::Exit{ever_served_ ? 0 : 1});
    }
}

}  // namespace ringfort::master
