/// Tells a policy what happens, and reads what it answers as text: "spawn 1/0, spawn 1/1" for the
/// slots 0 and 1 of generation 1. Include it after the imports.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace testing {

namespace action = ringfort::master::action;
namespace event = ringfort::master::event;

inline std::string text(ringfort::master::WorkerId id) {
    return std::to_string(id.generation) + "/" + std::to_string(id.slot);
}

inline std::string text(ringfort::master::Obstacle obstacle) {
    static constexpr std::string_view names[] = {"none",          "cycle",         "spawn",
                                                 "worker exited", "ready timeout", "stopping"};
    return std::string{names[static_cast<std::size_t>(obstacle)]};
}

/// One action in words. Overloads, so that a new action that nobody thought of does not compile.
struct ActionText {
    std::string operator()(const action::BuildCycle&) const { return "build"; }
    std::string operator()(const action::Spawn& one) const { return "spawn " + text(one.worker); }
    std::string operator()(const action::Introduce& one) const {
        return "introduce " + text(one.worker) + " " + text(one.peer);
    }
    std::string operator()(const action::Part& one) const {
        return "part " + text(one.worker) + " " + text(one.peer);
    }
    std::string operator()(const action::DrainWorker& one) const {
        return "drain " + text(one.worker) + " within " + std::to_string(one.timeout.count());
    }
    std::string operator()(const action::TerminateWorker& one) const {
        return "terminate " + text(one.worker);
    }
    std::string operator()(const action::KillWorker& one) const {
        return "kill " + text(one.worker);
    }
    std::string operator()(const action::CheckPulse& one) const {
        return "check " + text(one.worker);
    }
    std::string operator()(const action::AbortWorker& one) const {
        return "abort " + text(one.worker) + " after " + std::to_string(one.silence.count());
    }
    std::string operator()(const action::Lend& one) const {
        return "lend " + std::to_string(one.slot) + " to " + text(one.worker);
    }
    std::string operator()(const action::TakeBack& one) const {
        return "take back " + std::to_string(one.slot) + " from " + text(one.worker);
    }
    std::string operator()(const action::EndOrphans& one) const {
        return "end orphans of " + std::to_string(one.generation);
    }
    std::string operator()(const action::Commit& one) const {
        return "commit " + std::to_string(one.generation);
    }
    std::string operator()(const action::Abandon& one) const {
        return "abandon " + std::to_string(one.generation) + " (" + text(one.obstacle) + ")";
    }
    std::string operator()(const action::Release& one) const {
        return "release " + std::to_string(one.generation);
    }
    std::string operator()(const action::Postpone& one) const {
        return "postpone " + text(one.worker) + " (failure " + std::to_string(one.failures) +
               (one.budget_spent ? ", budget spent)" : ")");
    }
    std::string operator()(const action::ReopenLogs&) const { return "reopen"; }
    std::string operator()(const action::Refuse&) const { return "refuse"; }
    std::string operator()(const action::AnnounceStop&) const { return "announce the stop"; }
    std::string operator()(const action::AbortBuild&) const { return "abort the build"; }
    std::string operator()(const action::StartSuccessor&) const { return "start a successor"; }
    std::string operator()(const action::HandOver&) const { return "hand over"; }
    std::string operator()(const action::EndSuccessor&) const { return "end the successor"; }
    std::string operator()(const action::KillSuccessor&) const { return "kill the successor"; }
    std::string operator()(const action::FailUpgrade&) const { return "fail the upgrade"; }
    std::string operator()(const action::RefuseUpgrade&) const { return "refuse the upgrade"; }
    std::string operator()(const action::Exit& one) const {
        return "exit " + std::to_string(one.code);
    }
};

inline std::string text(const ringfort::master::Actions& actions) {
    std::string all;
    for (const auto& one : actions)
        all += (all.empty() ? "" : ", ") + std::visit(ActionText{}, one);
    return all;
}

/// A policy and the time it believes in, in milliseconds since the story began.
class Story {
public:
    using Milliseconds = ringfort::Milliseconds;

    Story() = default;
    explicit Story(std::uint64_t seed) : policy_{seed} {}

    /// All times differ, so that a test sees which one was used.
    static constexpr ringfort::master::Timing timing{.ready_timeout = Milliseconds{1'000},
                                                     .drain_timeout = Milliseconds{5'000},
                                                     .kill_timeout = Milliseconds{300},
                                                     .backoff_min = Milliseconds{100},
                                                     .backoff_max = Milliseconds{900},
                                                     .healthy = Milliseconds{10'000},
                                                     .respawn_budget = 20,
                                                     .shutdown_delay = Milliseconds{0},
                                                     .watchdog = Milliseconds{0},
                                                     .upgrade_timeout = Milliseconds{7'000},
                                                     .orphan_linger = Milliseconds{700},
                                                     .orphan_check = Milliseconds{250}};

    std::string operator()(const ringfort::master::Event& event) {
        return text(policy_.step(event, time_));
    }
    std::string built(std::uint32_t generation, std::uint32_t workers = 1) {
        auto its = timing;
        its.watchdog = watchdog_;
        its.respawn_budget = respawn_budget_;
        its.shutdown_delay = shutdown_delay_;
        return (*this)(event::CycleBuilt{.generation = generation,
                                         .workers = workers,
                                         .timing = its,
                                         .slots = slots_,
                                         .orphans = slots_ > workers,
                                         .inherited = inherits_});
    }
    /// Gives the generations built from now on so many slots with sockets.
    void own_sockets(std::uint32_t slots) { slots_ = slots; }
    /// Has the generations built from now on begin with what another master serves with.
    void inherit() { inherits_ = true; }
    /// Gives the generations built from now on a watchdog.
    void watch(std::int64_t milliseconds) { watchdog_ = Milliseconds{milliseconds}; }
    /// Gives the generations built from now on another budget.
    void afford(std::uint32_t respawns) { respawn_budget_ = respawns; }
    /// Has the generations built from now on serve for so long once a drain is announced.
    void linger(std::int64_t milliseconds) { shutdown_delay_ = Milliseconds{milliseconds}; }
    /// Answers that a worker made progress so many milliseconds ago.
    std::string pulse(std::int64_t ago, std::uint32_t generation = 1, std::uint32_t slot = 0) {
        return (*this)(event::Pulse{{generation, slot}, time_ - Milliseconds{ago}});
    }
    std::string ready(std::uint32_t generation, std::uint32_t slot = 0) {
        return (*this)(event::WorkerReady{{generation, slot}});
    }
    std::string exited(std::uint32_t generation, std::uint32_t slot = 0) {
        return (*this)(event::WorkerExited{{generation, slot}});
    }
    std::string not_spawned(std::uint32_t generation, std::uint32_t slot = 0) {
        return (*this)(event::SpawnFailed{{generation, slot}});
    }
    /// Lets time pass, and lets the policy notice.
    std::string after(std::int64_t milliseconds) {
        time_ += Milliseconds{milliseconds};
        return (*this)(event::Tick{});
    }
    /// Says how long the policy may sleep, in milliseconds; -1 for as long as it likes.
    [[nodiscard]] std::int64_t sleep() const {
        const auto deadline = policy_.next_deadline();
        if (!deadline) return -1;
        return std::chrono::duration_cast<Milliseconds>(*deadline - time_).count();
    }
    [[nodiscard]] const ringfort::master::Policy& policy() const { return policy_; }
    [[nodiscard]] ringfort::Instant time() const { return time_; }

    /// Brings generation 1 to serve.
    void serve(std::uint32_t workers = 1) {
        (void)built(1, workers);
        for (std::uint32_t slot = 0; slot < workers; ++slot) (void)ready(1, slot);
    }
    /// Brings another generation of one worker to serve; the one before drains.
    void reload_to(std::uint32_t generation) {
        (void)(*this)(event::Reload{});
        (void)built(generation);
        (void)ready(generation);
    }

private:
    ringfort::master::Policy policy_;
    Milliseconds watchdog_{0};
    std::uint32_t respawn_budget_ = timing.respawn_budget;
    Milliseconds shutdown_delay_ = timing.shutdown_delay;
    bool inherits_ = false;
    std::uint32_t slots_ = 0;
    ringfort::Instant time_{std::chrono::hours{1}};
};

}  // namespace testing
