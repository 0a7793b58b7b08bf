/// Watches a policy from outside, knowing only what was told and what was asked for, and says what
/// breaks its invariants (modules/master/policy.cppm). Include it after story.h.
#pragma once
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace testing {

struct Violation : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Observer {
public:
    using WorkerId = ringfort::master::WorkerId;
    using Instant = ringfort::Instant;
    using Milliseconds = ringfort::Milliseconds;
    using WatchedGeneration = ringfort::master::GenerationStatus;

    explicit Observer(const ringfort::master::Policy& policy) : policy_{policy} {}

    /// Checks one step: the event, and what was answered to it. Throws a Violation.
    void step(const ringfort::master::Event& event, const ringfort::master::Actions& actions,
              Instant time) {
        time_ = time;
        must(!exited_ || actions.empty(), "actions after the exit");
        std::visit([this](const auto& one) { heard(one); }, event);
        for (const auto& one : actions) std::visit([this](const auto& it) { asked(it); }, one);
        must(reopens_ == 0, "a reopening was not passed on");
        must(refusals_ == 0, "a reload was neither begun nor refused");
        must(announcements_ == 0, "a stop that waits was not announced");
        must(upgrades_asked_ == 0, "an upgrade was neither begun nor refused");
        must(upgrades_failed_ == 0, "a failed upgrade was not told");
        must(hand_overs_ == 0, "nothing was handed over to a successor that serves");
        check_state();
        if (std::holds_alternative<event::Tick>(event)) {
            const auto deadline = policy_.next_deadline();
            must(!deadline || *deadline > time, "a tick leaves a deadline that has passed");
        }
    }

    /// Checks the end, when nothing happens any more.
    void rest() const {
        must(!building_, "at rest, a build is waited for");
        must(!starting_, "at rest, a generation is still starting");
        must(!has_successor(), "at rest, an upgrade is under way");
        must(!taking_over_, "at rest, nothing has been taken over");
        must(stopping_ || !announced_, "at rest, an announced stop is owed");
        if (stopping_) {
            must(exited_, "at rest, stopped without an exit");
            return;
        }
        must(current_.has_value(), "at rest, nobody serves");
        must(!reload_wanted_, "at rest, a reload is still owed");
        must(!generations_.at(*current_).orphans, "at rest, orphaned sockets are open");
        must(generations_.at(*current_).lent.empty(), "at rest, sockets are lent");
        must(generations_.size() == 1, "at rest, an old generation has not been released");
        for (const auto& [id, worker] : workers_) {
            must(id.generation == *current_, "at rest, an old worker lives: " + text(id));
            must(worker.ready, "at rest, a worker is not ready: " + text(id));
        }
        must(workers_.size() == generations_.at(*current_).workers, "at rest, a worker is missing");
        must(policy_.serving() == workers_.size(), "at rest, a wrong number serves");
    }

    [[nodiscard]] bool exited() const { return exited_; }
    [[nodiscard]] bool serves() const { return current_.has_value(); }
    [[nodiscard]] std::uint64_t commits() const { return commits_; }
    [[nodiscard]] std::uint64_t upgrades() const { return upgrades_; }
    [[nodiscard]] std::uint64_t announced_stops() const { return announced_stops_; }
    [[nodiscard]] std::uint64_t budget_spent() const { return budget_spent_; }
    [[nodiscard]] std::uint32_t workers_of(std::uint32_t generation) const {
        return generations_.at(generation).workers;
    }

private:
    enum class Upgrade { no, starting, ending, failed, leaving, done };
    enum class Order { none, drain, terminate, abort, kill };
    struct Worker {  ///< asked for, and not known to be gone
        bool ready = false;
        Order order = Order::none;
        Instant ready_at{};
        Instant ordered_at{};
        std::optional<Instant> pulse;  ///< as it was told last
        Instant told_at{};             ///< when that was
        bool looked_at = false;        ///< its pulse was asked for, and not told yet
        std::set<std::uint32_t> peers;
    };
    struct Generation {
        std::uint32_t workers;
        ringfort::master::Timing timing;
        std::map<std::uint32_t, std::uint32_t> failures;
        std::map<std::uint32_t, Instant> not_before;  ///< of the next spawn, where one is due
        std::set<std::pair<std::uint32_t, std::uint32_t>> to_part;
        bool hurried = false;
        std::uint32_t slots = 0;  ///< with sockets of their own
        bool orphans = false;     ///< sockets that are to be closed
        bool inherited = false;
        Instant committed{};
        std::map<std::uint32_t, std::uint32_t> lent;  ///< slot -> the worker that stands in
        /// The respawn budget as a purse of time: each respawn costs the longest delay.
        Instant::duration purse{};
        Instant counted{};  ///< when that was
    };

    static void must(bool holds, const std::string& otherwise) {
        if (!holds) throw Violation{otherwise};
    }
    Worker& living(WorkerId id, const char* what) {
        const auto found = workers_.find(id);
        must(found != workers_.end(), std::string{what} + " of a worker that is not there");
        return found->second;
    }
    [[nodiscard]] bool upgrading() const {
        return upgrade_ == Upgrade::starting || upgrade_ == Upgrade::ending ||
               upgrade_ == Upgrade::leaving;
    }
    [[nodiscard]] bool has_successor() const {
        return upgrade_ != Upgrade::no && upgrade_ != Upgrade::done;
    }
    [[nodiscard]] bool is_current(WorkerId id) const { return current_ == id.generation; }
    /// Nothing new may begin any more.
    [[nodiscard]] bool closing() const { return stopping_ || announced_; }
    static Instant::duration whole_purse(const ringfort::master::Timing& timing) {
        return timing.respawn_budget * Instant::duration{timing.backoff_max};
    }
    /// Takes the price of one respawn out of the purse, if that is in it.
    bool pays(Generation& generation) {
        const Instant::duration price = generation.timing.backoff_max;
        const auto earned = time_ - std::exchange(generation.counted, time_);
        generation.purse = std::min(generation.purse + earned, whole_purse(generation.timing));
        if (generation.purse < price) return false;
        generation.purse -= price;
        return true;
    }

    // What happened.
    void heard(const event::CycleBuilt& one) {
        must(building_, "the model built what nobody asked for");
        building_ = false;
        generations_.emplace(one.generation, Generation{.workers = one.workers,
                                                        .timing = one.timing,
                                                        .failures = {},
                                                        .not_before = {},
                                                        .to_part = {},
                                                        .hurried = false,
                                                        .slots = one.slots,
                                                        .orphans = one.orphans,
                                                        .inherited = one.inherited,
                                                        .committed = {},
                                                        .lent = {},
                                                        .purse = whole_purse(one.timing),
                                                        .counted = time_});
        if (!closing()) starting_ = one.generation;
    }
    void heard(const event::CycleFailed&) {
        building_ = false;
        if (!current_) stopping_ = true;
    }
    void heard(const event::SpawnFailed& one) { gone(one.worker); }
    void heard(const event::WorkerExited& one) { gone(one.worker); }
    void heard(const event::WorkerReady& one) {
        Worker& worker = workers_.at(one.worker);
        worker.ready = true;
        worker.ready_at = time_;
    }
    void heard(const event::Pulse& one) {
        const auto found = workers_.find(one.worker);
        if (found == workers_.end()) return;
        found->second.pulse = one.last;
        found->second.looked_at = false;
        found->second.told_at = time_;
    }
    void heard(const event::OrphansEnded& one) {
        const auto found = generations_.find(one.generation);
        if (found == generations_.end()) return;
        Generation& generation = found->second;
        generation.orphans = false;
        generation.slots = std::min(generation.slots, one.slots);
        std::erase_if(generation.lent, [&](const auto& it) { return it.first >= one.slots; });
    }
    void heard(const event::OrphansBusy&) {}
    void heard(const event::Reload&) {
        if (closing())
            refusals_ += exited_ ? 0 : 1;
        else
            reload_wanted_ = true;
    }
    void heard(const event::Upgrade&) { upgrades_asked_ += exited_ ? 0 : 1; }
    void heard(const event::SuccessorReady&) {
        if (exited_ || upgrade_ != Upgrade::starting) return;
        must(current_.has_value(), "a successor of nothing");
        upgrade_ = Upgrade::leaving;
        upgrade_due_ = time_ + generations_.at(*current_).timing.kill_timeout;
        ++hand_overs_;
    }
    void heard(const event::SuccessorTookOver&) {
        if (exited_ || upgrade_ != Upgrade::leaving) return;
        upgrade_ = Upgrade::done;
        asked_to_stop_ = true;
        ++upgrades_;
        stop();
    }
    void heard(const event::SuccessorGivesUp&) {
        if (exited_ || !upgrading() || upgrade_ == Upgrade::leaving) return;
        upgrade_ = Upgrade::failed;
        ++upgrades_failed_;
    }
    void heard(const event::SuccessorExited&) {
        if (exited_ || !has_successor()) return;
        if (upgrading()) ++upgrades_failed_;
        upgrade_ = Upgrade::no;
    }
    void heard(const event::TakenOver&) { taking_over_ = false; }
    void heard(const event::Reopen&) { reopens_ += exited_ ? 0 : 1; }
    void heard(const event::Drain&) {
        if (!closing() && current_ && upgrade_ != Upgrade::leaving && !taking_over_) {
            const Milliseconds delay = generations_.at(*current_).timing.shutdown_delay;
            if (delay > Milliseconds{0}) {
                announced_ = time_ + delay;
                reload_wanted_ = false;
                ++announcements_;
                return;
            }
        }
        at_once_ = at_once_ || asked_to_stop_;
        asked_to_stop_ = true;
        stop();
    }
    void heard(const event::Terminate&) {
        at_once_ = true;
        stop();
    }
    void heard(const event::Tick&) {
        if (stopping_ || !announced_ || *announced_ > time_) return;
        ++announced_stops_;
        asked_to_stop_ = true;
        stop();
    }

    void stop() {
        stopping_ = true;
        reload_wanted_ = false;
    }
    void gone(WorkerId id) {
        const Worker worker = workers_.at(id);
        workers_.erase(id);
        Generation& generation = generations_.at(id.generation);
        nobody_borrows(generation, id.slot);
        if (worker.ready && worker.order == Order::none &&
            time_ - worker.ready_at >= generation.timing.healthy)
            generation.failures.erase(id.slot);
        for (auto& [other, its] : workers_)
            if (other.generation == id.generation && its.peers.erase(id.slot) != 0 &&
                its.order <= Order::drain)
                generation.to_part.emplace(other.slot, id.slot);
    }

    /// What a worker has borrowed is void when it is to go.
    static void nobody_borrows(Generation& generation, std::uint32_t slot) {
        std::erase_if(generation.lent, [slot](const auto& it) { return it.second == slot; });
    }

    // What was asked for.
    void asked(const action::BuildCycle&) {
        must(!building_, "a build is asked for during another");
        must(!starting_, "a build is asked for while a generation starts");
        must(!closing(), "a build is asked for while stopping");
        must(!upgrading() && !taking_over_, "a build is asked for during an upgrade");
        must(reload_wanted_, "a build that nobody wanted");
        building_ = true;
        reload_wanted_ = false;
    }
    void asked(const action::AbortBuild&) {
        must(building_ && closing(), "a build is aborted that is needed");
    }
    void asked(const action::StartSuccessor&) {
        must(!closing() && !building_ && !starting_ && current_ && upgrade_ == Upgrade::no &&
                 !taking_over_,
             "an upgrade at a bad moment");
        upgrade_ = Upgrade::starting;
        successor_killed_ = false;
        upgrade_due_ = time_ + generations_.at(*current_).timing.upgrade_timeout;
        --upgrades_asked_;
    }
    void asked(const action::RefuseUpgrade&) {
        must(closing() || building_ || starting_ || has_successor() || taking_over_ || !current_,
             "an upgrade is refused for no reason");
        --upgrades_asked_;
    }
    void asked(const action::EndSuccessor&) {
        must(upgrade_ == Upgrade::starting || (closing() && upgrade_ == Upgrade::failed),
             "an end of a successor that is not starting");
        must(closing() || time_ >= upgrade_due_, "a successor is ended too early");
        if (upgrade_ == Upgrade::starting) upgrade_ = Upgrade::ending;
    }
    void asked(const action::KillSuccessor&) {
        must(upgrade_ == Upgrade::ending || upgrade_ == Upgrade::failed ||
                 (upgrade_ == Upgrade::leaving && time_ >= upgrade_due_),
             "a kill of a successor that was not asked to end");
        must(!std::exchange(successor_killed_, true), "a successor is killed twice");
    }
    void asked(const action::HandOver&) { --hand_overs_; }
    void asked(const action::FailUpgrade&) { --upgrades_failed_; }
    void asked(const action::Spawn& one) {
        must(!stopping_, "a spawn while stopping");
        must(!workers_.contains(one.worker), "a spawn of a living worker");
        must(is_current(one.worker) || starting_ == one.worker.generation,
             "a spawn for a generation that leaves");
        Generation& generation = generations_.at(one.worker.generation);
        must(one.worker.slot < generation.workers, "a spawn of a slot that is not there");
        if (is_current(one.worker)) {
            const auto due = generation.not_before.find(one.worker.slot);
            must(due != generation.not_before.end(), "a respawn without a back-off");
            must(due->second <= time_, "a respawn before its time");
            generation.not_before.erase(due);
        }
        workers_.emplace(one.worker, Worker{});
    }
    void asked(const action::Introduce& one) {
        Worker& worker = living(one.worker, "an introduction");
        Worker& peer = living(one.peer, "an introduction");
        must(one.worker.generation == one.peer.generation, "an introduction to another generation");
        must(worker.ready && peer.ready, "an introduction of a worker that is not ready");
        must(one.worker.slot != one.peer.slot, "an introduction to itself");
        must(worker.peers.insert(one.peer.slot).second, "introduced twice");
        must(peer.peers.insert(one.worker.slot).second, "introduced twice");
    }
    void asked(const action::Part& one) {
        (void)living(one.worker, "a parting");
        must(!workers_.contains(one.peer), "a parting from a living worker");
        generations_.at(one.worker.generation).to_part.erase({one.worker.slot, one.peer.slot});
    }
    void asked(const action::DrainWorker& one) { order(one.worker, Order::drain); }
    void asked(const action::TerminateWorker& one) {
        const Worker& worker = living(one.worker, "an order to end");
        must(at_once_ || !worker.ready || worker.order == Order::drain ||
                 !generations_.at(one.worker.generation).inherited,
             "connections are cut that would not have come without an upgrade");
        order(one.worker, Order::terminate);
        if (one.worker.generation != current_)
            generations_.at(one.worker.generation).hurried = true;
    }
    void asked(const action::KillWorker& one) {
        const Worker before = living(one.worker, "a kill");
        must(before.order == Order::terminate || before.order == Order::abort,
             "a kill of a worker that was not asked to end");
        must(time_ - before.ordered_at >= timing(one.worker).kill_timeout, "a kill too early");
        order(one.worker, Order::kill);
    }
    void asked(const action::CheckPulse& one) {
        Worker& worker = living(one.worker, "a look at the pulse");
        must(worker.ready, "a look at the pulse of a worker that is not ready");
        must(worker.order <= Order::drain, "a look at the pulse of a worker that is to end");
        must(timing(one.worker).watchdog > Milliseconds{0}, "a watchdog that nobody wanted");
        worker.looked_at = true;
    }
    void asked(const action::AbortWorker& one) {
        const Worker& worker = living(one.worker, "an abort");
        must(worker.order <= Order::drain, "an abort of a worker that is to end");
        must(worker.pulse && time_ - *worker.pulse >= timing(one.worker).watchdog,
             "an abort of a worker that makes progress");
        Generation& generation = generations_.at(one.worker.generation);
        if (worker.order == Order::none &&
            std::min(*worker.pulse, time_) - worker.ready_at >= generation.timing.healthy)
            generation.failures.erase(one.worker.slot);  // it lived well until it hung
        order(one.worker, Order::abort);
    }
    void order(WorkerId id, Order what) {
        Worker& worker = living(id, "an order to end");
        must(worker.order < what, "an order to end that was given before");
        must(stopping_ || !is_current(id) || !worker.ready || worker.order != Order::none ||
                 what == Order::abort,
             "a serving worker of the current generation is ended");
        worker.order = what;
        worker.ordered_at = time_;
        nobody_borrows(generations_.at(id.generation), id.slot);
    }
    void asked(const action::Lend& one) {
        must(!stopping_ && is_current(one.worker), "sockets are lent in another generation");
        Generation& generation = generations_.at(one.worker.generation);
        must(one.slot < generation.slots, "sockets are lent that are not there");
        const Worker& borrower = living(one.worker, "a loan");
        must(borrower.ready && borrower.order == Order::none, "a loan to one that does not serve");
        must(one.slot != one.worker.slot, "a loan to the owner");
        must(generation.lent.emplace(one.slot, one.worker.slot).second, "lent twice");
    }
    void asked(const action::TakeBack& one) {
        const Worker& borrower = living(one.worker, "a taking back");
        must(borrower.order == Order::none, "a taking back from one that is to go");
        Generation& generation = generations_.at(one.worker.generation);
        const auto loan = generation.lent.find(one.slot);
        must(loan != generation.lent.end() && loan->second == one.worker.slot,
             "a taking back of what was not lent");
        generation.lent.erase(loan);
    }
    void asked(const action::EndOrphans& one) {
        must(!stopping_ && current_ == one.generation, "orphans of another generation are ended");
        const Generation& generation = generations_.at(one.generation);
        must(generation.orphans, "orphans are ended that are not there");
        must(time_ - generation.committed >= generation.timing.orphan_linger,
             "orphans are ended too early");
    }
    void asked(const action::Commit& one) {
        must(!closing(), "a commit while stopping");
        must(starting_ == one.generation, "a commit of what was not starting");
        for (std::uint32_t slot = 0; slot < generations_.at(one.generation).workers; ++slot) {
            const auto found = workers_.find({one.generation, slot});
            must(found != workers_.end() && found->second.ready, "a commit before all are ready");
        }
        starting_.reset();
        generations_.at(one.generation).committed = time_;
        current_ = one.generation;
        taking_over_ = generations_.at(one.generation).inherited;
        ++commits_;
    }
    void asked(const action::Abandon& one) {
        must(one.generation != current_, "the current generation is abandoned");
        if (starting_ == one.generation) starting_.reset();
        if (!current_) stop();
    }
    void asked(const action::Release& one) {
        must(generations_.erase(one.generation) == 1, "a release of what is not there");
        must(stopping_ || one.generation != current_, "the current generation is released");
        for (const auto& [id, worker] : workers_)
            must(id.generation != one.generation, "a release while a worker lives");
    }
    void asked(const action::Postpone& one) {
        must(!stopping_ && is_current(one.worker), "a back-off that is not needed");
        Generation& generation = generations_.at(one.worker.generation);
        const std::uint32_t failures = ++generation.failures[one.worker.slot];
        Milliseconds delay = generation.timing.backoff_min;
        for (std::uint32_t i = 1; i < failures && delay < generation.timing.backoff_max; ++i)
            delay *= 2;
        delay = std::min(delay, generation.timing.backoff_max);
        const bool costs = failures > 1 && delay < generation.timing.backoff_max;
        const bool spent = costs && !pays(generation);
        budget_spent_ += spent ? 1 : 0;
        if (spent) delay = generation.timing.backoff_max;
        must(one.failures == failures, "a wrong number of failures");
        must(one.budget_spent == spent, "a budget that is spent, or not");
        must(one.delay <= delay && one.delay >= delay / 2 &&
                 one.delay >= generation.timing.backoff_min,
             "a wrong back-off");
        generation.not_before[one.worker.slot] = time_ + one.delay;
    }
    void asked(const action::ReopenLogs&) { --reopens_; }
    void asked(const action::Refuse&) { --refusals_; }
    void asked(const action::AnnounceStop&) { --announcements_; }
    void asked(const action::Exit& one) {
        must(!exited_, "a second exit");
        must(stopping_, "an exit that nobody asked for");
        must(workers_.empty(), "an exit while a worker lives");
        must(generations_.empty(), "an exit with a generation that was not released");
        must(!building_, "an exit during a build");
        must(!has_successor(), "an exit during an upgrade");
        must(one.code == (current_ ? 0 : 1), "a wrong exit code");
        exited_ = true;
    }

    // What holds at any time.
    void check_state() {
        must(policy_.stopping() == stopping_, "the policy and the observer differ about stopping");
        must(policy_.closing() == closing(), "the policy and the observer differ about closing");
        must(!closing() || upgrade_ != Upgrade::starting, "a stop leaves a successor starting");
        must(policy_.superseded() == (upgrade_ == Upgrade::done), "who serves is not clear");
        if (!stopping_) {
            must(policy_.current_generation() == current_, "the current generation is another");
            const bool full = generations_.size() >= ringfort::limits::max_generations;
            must(!reload_wanted_ || building_ || starting_ || upgrading() || full || taking_over_,
                 "a reload is not begun");
        }
        std::uint32_t unhurried = 0;
        for (const auto& [number, generation] : generations_) {
            if (!generation.hurried) ++unhurried;
            must(stopping_ || generation.to_part.empty(), "a worker keeps a peer that has gone");
        }
        must(unhurried <= ringfort::limits::max_generations, "too many generations live on");
        check_deadlines();
        if (stopping_ || !current_) return;
        const Generation& now = generations_.at(*current_);
        for (std::uint32_t slot = 0; slot < now.workers; ++slot)
            must(workers_.contains({*current_, slot}) || now.not_before.contains(slot),
                 "a slot of the current generation is neither alive nor to be respawned");
        check_sockets(now);
    }
    /// Every socket has a worker that serves it, as long as one does: its own before all others.
    void check_sockets(const Generation& generation) const {
        const auto status = policy_.status(time_);
        const auto current = std::ranges::find(status, *current_, &WatchedGeneration::number);
        const auto serves = [&](std::uint32_t slot) {
            const auto found = workers_.find({*current_, slot});
            if (found == workers_.end() || !found->second.ready ||
                found->second.order != Order::none)
                return false;
            const bool overdue = current->workers[slot].overdue;
            const Milliseconds half = generation.timing.watchdog / 2;
            must(!overdue ||
                     (found->second.pulse && found->second.told_at - *found->second.pulse >= half),
                 "a worker that makes progress is taken to be overdue");
            return !overdue;
        };
        bool anybody = false;
        for (std::uint32_t slot = 0; slot < generation.workers; ++slot)
            anybody = serves(slot) || anybody;
        for (std::uint32_t slot = 0; slot < generation.slots; ++slot) {
            const auto loan = generation.lent.find(slot);
            if (serves(slot))
                must(loan == generation.lent.end(), "a worker is not given its sockets back");
            else if (anybody)
                must(loan != generation.lent.end() && serves(loan->second),
                     "sockets are served by nobody");
        }
    }
    void check_deadlines() const {
        bool needed = has_successor() && !successor_killed_;
        must(!needed || policy_.next_deadline(), "an upgrade has no deadline");
        for (const auto& [id, worker] : workers_) {
            must(!at_once_ || worker.order >= Order::terminate,
                 "a stop at once leaves a worker in peace: " + text(id));
            const bool serves = worker.ready && worker.order == Order::none;
            const Milliseconds watchdog = timing(id).watchdog;
            if (serves && watchdog > Milliseconds{0}) {
                const auto deadline = policy_.next_deadline();
                const Milliseconds patience =
                    generations_.at(id.generation).slots > 0 ? watchdog / 2 : watchdog;
                must(worker.looked_at || (deadline && *deadline - time_ <= patience),
                     "nobody will look at the pulse of " + text(id));
                needed = true;
            }
            if (worker.order == Order::kill || serves) continue;
            check_deadline(id);
            needed = true;
        }
        if (announced_ && !stopping_) {
            const auto deadline = policy_.next_deadline();
            must(deadline && *deadline <= *announced_, "an announced stop has no deadline");
            needed = true;
        }
        if (current_ && !stopping_)
            needed |= !generations_.at(*current_).not_before.empty() ||
                      generations_.at(*current_).orphans;
        must(needed || !policy_.next_deadline(), "a deadline that nobody needs");
    }
    void check_deadline(WorkerId id) const {
        const auto deadline = policy_.next_deadline();
        const auto& limits = timing(id);
        must(
            deadline && *deadline - time_ <= std::max({limits.ready_timeout, limits.kill_timeout,
                                                       limits.drain_timeout + limits.kill_timeout}),
            "a worker that is to begin or to end has no deadline: " + text(id));
    }
    [[nodiscard]] const ringfort::master::Timing& timing(WorkerId id) const {
        return generations_.at(id.generation).timing;
    }

    const ringfort::master::Policy& policy_;
    Instant time_{};
    std::map<WorkerId, Worker> workers_;
    std::map<std::uint32_t, Generation> generations_;  ///< built, and not released
    std::optional<std::uint32_t> current_;             ///< the last that was committed
    std::optional<std::uint32_t> starting_;
    bool building_ = true;
    bool stopping_ = false;
    bool asked_to_stop_ = false;
    std::optional<Instant> announced_;  ///< a stop, for then
    int announcements_ = 0;
    bool at_once_ = false;
    bool reload_wanted_ = false;
    bool exited_ = false;
    int reopens_ = 0;
    int refusals_ = 0;
    Upgrade upgrade_ = Upgrade::no;
    Instant upgrade_due_{};
    bool successor_killed_ = false;
    bool taking_over_ = false;
    int upgrades_asked_ = 0;
    int upgrades_failed_ = 0;
    int hand_overs_ = 0;
    std::uint64_t upgrades_ = 0;
    std::uint64_t announced_stops_ = 0;  ///< that have waited for all of their time
    std::uint64_t budget_spent_ = 0;
    std::uint64_t commits_ = 0;
};

}  // namespace testing
