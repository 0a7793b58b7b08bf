// The policy against a model of the kernel, a seed a world. A world that breaks an invariant names
// its seed; RINGFORT_SEED=<seed> runs that one alone and tells all that happened in it.
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

import ringfort.base;
import ringfort.master;

#include "model.h"
#include "story.h"

#include "observer.h"

using namespace ringfort;
using master::Actions;
using master::Event;
using testing::Random;
namespace action = master::action;
namespace event = master::event;

namespace {

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr std::uint64_t seeds = 2'000;  ///< each takes ten times as long
#else
constexpr std::uint64_t seeds = 10'000;
#endif
constexpr int steps = 600;             ///< with events from outside
constexpr int steps_to_rest = 15'000;  ///< more than any world needs
constexpr int quiet_steps = 50;        ///< several looks at the pulse of every worker

/// What one world came to; `violation` is empty when all was well.
struct Outcome {
    std::string violation;
    std::vector<std::string> diary;
    bool exited = false;
    std::uint64_t commits = 0;
    std::uint64_t aborts = 0;
    std::uint64_t upgrades = 0;
    std::uint64_t lent = 0;
    std::uint64_t orphans_ended = 0;
    std::uint64_t announced_stops = 0;
    std::uint64_t budget_spent = 0;
};

class World {
public:
    explicit World(std::uint64_t seed, bool keeps_diary)
        : random_{seed}, model_{random_, weather()}, policy_{seed}, keeps_diary_{keeps_diary} {}

    Outcome run() {
        Outcome outcome;
        try {
            live();
        } catch (const testing::Violation& violation) {
            outcome.violation = violation.what();
        }
        outcome.diary = std::move(diary_);
        outcome.exited = observer_.exited();
        outcome.commits = observer_.commits();
        outcome.aborts = aborts_;
        outcome.upgrades = observer_.upgrades();
        outcome.announced_stops = observer_.announced_stops();
        outcome.budget_spent = observer_.budget_spent();
        outcome.lent = lent_;
        outcome.orphans_ended = orphans_ended_;
        return outcome;
    }

private:
    void live() {
        build();
        for (int i = 0; i < steps && !observer_.exited(); ++i) {
            if (random_.percent(restless_))
                step(from_outside());
            else
                advance();
        }
        for (int i = 0; i < 5 && observer_.exited(); ++i) step(from_outside());
        model_.clear_up();
        // Pulses are looked at for ever: when nothing else happens for so long, nothing will.
        int quiet = 0;
        for (int i = 0; i < steps_to_rest; ++i) {
            only_pulses_ = true;
            if (!advance()) return observer_.rest();
            // What comes at once after a look at a pulse is the pulse.
            const bool nothing_else = model_.next().value_or(Instant::min()) == Instant::min();
            quiet = only_pulses_ && nothing_else && !has_deadlines() ? quiet + 1 : 0;
            if (quiet == quiet_steps) return observer_.rest();
        }
        throw testing::Violation{"it does not come to rest"};
    }

    /// Tells whether the policy still has something to do but to look at pulses.
    bool has_deadlines() const {
        if (policy_.closing() && !policy_.stopping()) return true;
        for (const auto& generation : policy_.status(time_)) {
            if (generation.orphans) return true;
            for (const auto& worker : generation.workers)
                if (worker.deadline) return true;
        }
        return false;
    }

    testing::Weather weather() {
        if (random_.percent(20)) return {};
        const auto chance = [this] { return random_.percent(50) ? random_.between(0, 40) : 0; };
        testing::Weather drawn{.spawn_fails = chance(),
                               .build_fails = chance(),
                               .never_ready = chance(),
                               .crashes_early = chance(),
                               .crashes_later = chance(),
                               .ignores_drain = chance(),
                               .ignores_terminate = chance(),
                               .hangs = chance(),
                               .survives_abort = chance(),
                               .successor_fails = chance(),
                               .successor_hangs = chance(),
                               .orphans_busy = chance()};
        if (random_.percent(5)) drawn.spawn_fails = 100;
        return drawn;
    }

    Event from_outside() {
        const auto drawn = random_.between(1, 1'000);
        if (drawn <= stops_)
            return random_.percent(50) ? Event{event::Drain{}} : event::Terminate{};
        if (drawn <= 400) return event::Reload{};
        if (drawn <= 500) return event::Reopen{};
        if (drawn <= 500 + upgrades_) return event::Upgrade{};
        return event::Tick{};
    }

    /// Goes to the next thing that happens, the policy's deadlines included. Returns whether there
    /// is one.
    bool advance() {
        if (const auto event = model_.take(time_)) {
            step(*event);
            return true;
        }
        const auto deadline = policy_.next_deadline();
        const auto next = model_.next();
        if (!deadline && !next) return false;
        if (next && (!deadline || *next < *deadline)) {
            time_ = std::max(time_, *next);
            return true;
        }
        // ppoll(2) is late more often than not.
        time_ = std::max(time_, *deadline) + Milliseconds{random_.percent(30) ? 1 : 0};
        step(event::Tick{});
        return true;
    }

    void step(const Event& event) {
        const Actions actions = policy_.step(event, time_);
        if (keeps_diary_) write_down(event, actions);
        const bool about_pulses =
            (std::holds_alternative<event::Pulse>(event) && actions.empty()) ||
            (std::holds_alternative<event::Tick>(event) &&
             std::ranges::all_of(actions, [](const master::Action& one) {
                 return std::holds_alternative<action::CheckPulse>(one);
             }));
        only_pulses_ = only_pulses_ && about_pulses;
        observer_.step(event, actions, time_);
        orphans_ended_ += std::holds_alternative<event::OrphansEnded>(event) ? 1 : 0;
        for (const auto& one : actions) std::visit([this](const auto& it) { carry_out(it); }, one);
    }

    void build() {
        const auto ms = [this](std::int64_t low, std::int64_t high) {
            return Milliseconds{random_.between(low, high)};
        };
        const master::Timing timing{
            .ready_timeout = ms(200, 1'000),
            .drain_timeout = ms(0, 3'000),
            .kill_timeout = ms(1, 300),
            .backoff_min = ms(1, 200),
            .backoff_max = ms(200, 3'000),
            .healthy = ms(1, 10'000),
            .respawn_budget = static_cast<std::uint32_t>(random_.between(0, 2)),
            .shutdown_delay = random_.percent(60) ? ms(1, 2'000) : ms(0, 0),
            .watchdog = random_.percent(50) ? ms(20, 4'000) : ms(0, 0),
            .upgrade_timeout = ms(1, 1'000),
            .orphan_linger = ms(0, 3'000),
            .orphan_check = ms(1, 500)};
        const auto workers = static_cast<std::uint32_t>(random_.between(1, 4));
        const bool slots = random_.percent(50);
        const auto orphans =
            static_cast<std::uint32_t>(slots && random_.percent(40) ? random_.between(1, 4) : 0);
        model_.build(time_, {.generation = 0,
                             .workers = workers,
                             .timing = timing,
                             .slots = slots ? workers + orphans : 0,
                             .orphans = orphans > 0 || (slots && random_.percent(10)),
                             .inherited = std::exchange(inherits_, false)});
    }
    void carry_out(const action::BuildCycle&) { build(); }
    void carry_out(const action::Spawn& one) { model_.spawn(one.worker, time_); }
    void carry_out(const action::DrainWorker& one) { model_.drain(one.worker, one.timeout, time_); }
    void carry_out(const action::TerminateWorker& one) { model_.terminate(one.worker, time_); }
    void carry_out(const action::KillWorker& one) { model_.kill(one.worker, time_); }
    void carry_out(const action::CheckPulse& one) { model_.check_pulse(one.worker, time_); }
    void carry_out(const action::AbortWorker& one) {
        model_.abort(one.worker, time_);
        ++aborts_;
    }
    void carry_out(const action::Commit& one) { model_.take_over(one.generation, time_); }
    void carry_out(const action::StartSuccessor&) { model_.start_successor(time_); }
    void carry_out(const action::EndSuccessor&) { model_.end_successor(time_); }
    void carry_out(const action::KillSuccessor&) { model_.kill_successor(time_); }
    void carry_out(const action::Lend&) { ++lent_; }
    void carry_out(const action::EndOrphans& one) {
        model_.end_orphans(one.generation, observer_.workers_of(one.generation));
    }
    void carry_out(const action::Exit&) {
        if (!model_.nobody_lives()) throw testing::Violation{"an exit while a process lives"};
    }
    void carry_out(const auto&) {}

    void write_down(const Event& event, const Actions& actions) {
        static constexpr std::array names{"cycle built",
                                          "cycle failed",
                                          "spawn failed",
                                          "ready",
                                          "exited",
                                          "pulse",
                                          "orphans end",
                                          "orphans busy",
                                          "reload",
                                          "upgrade",
                                          "taken over",
                                          "successor ready",
                                          "successor took over",
                                          "successor gives up",
                                          "successor exited",
                                          "reopen",
                                          "drain",
                                          "terminate",
                                          "tick"};
        static_assert(names.size() == std::variant_size_v<Event>);
        std::string about;
        std::visit(
            [&](const auto& one) {
                if constexpr (requires { one.worker; }) about = " " + testing::text(one.worker);
                if constexpr (requires { one.workers; })
                    about = " " + std::to_string(one.generation) + " with " +
                            std::to_string(one.workers) + " workers, " + std::to_string(one.slots) +
                            " slots";
            },
            event);
        const auto ms = std::chrono::duration_cast<Milliseconds>(time_ - Instant{}).count();
        diary_.push_back(std::to_string(ms) + " ms: " + names[event.index()] + about + " -> " +
                         testing::text(actions));
    }

    Random random_;
    testing::Model model_;
    master::Policy policy_;
    testing::Observer observer_{policy_};
    Instant time_{};
    std::vector<std::string> diary_;
    bool only_pulses_ = true;  ///< since it was set
    std::uint64_t aborts_ = 0;
    std::uint64_t lent_ = 0;
    std::uint64_t orphans_ended_ = 0;
    std::int64_t restless_ = random_.between(0, 30);
    std::int64_t stops_ = random_.percent(50) ? random_.between(0, 20) : 0;
    std::int64_t upgrades_ = random_.percent(40) ? random_.between(0, 80) : 0;
    bool inherits_ = random_.percent(20);  ///< the first generation
    bool keeps_diary_;
};

std::string story_of(std::uint64_t seed) {
    const Outcome outcome = World{seed, true}.run();
    std::string text = "seed " + std::to_string(seed) + ": " +
                       (outcome.violation.empty() ? "all is well" : outcome.violation) +
                       "\nrun it alone with RINGFORT_SEED=" + std::to_string(seed) +
                       "; the end of its diary:\n";
    const std::size_t shown = std::min<std::size_t>(outcome.diary.size(), 40);
    for (std::size_t i = outcome.diary.size() - shown; i < outcome.diary.size(); ++i)
        text += outcome.diary[i] + "\n";
    return text;
}

}  // namespace

TEST_CASE("a policy in any world keeps its invariants and comes to rest") {
    if (const char* chosen = std::getenv("RINGFORT_SEED")) {
        const std::uint64_t seed = std::strtoull(chosen, nullptr, 10);
        WARN(story_of(seed));
        REQUIRE(World{seed, false}.run().violation.empty());
        return;
    }
    std::uint64_t exits = 0, commits = 0, aborts = 0, upgrades = 0, lent = 0, orphans_ended = 0;
    std::uint64_t announced_stops = 0, budget_spent = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        const Outcome outcome = World{seed, false}.run();
        if (!outcome.violation.empty()) FAIL(story_of(seed));
        exits += outcome.exited ? 1 : 0;
        commits += outcome.commits;
        aborts += outcome.aborts;
        upgrades += outcome.upgrades;
        announced_stops += outcome.announced_stops;
        budget_spent += outcome.budget_spent;
        lent += outcome.lent;
        orphans_ended += outcome.orphans_ended;
    }
    // Worlds in which nothing happens prove nothing.
    CHECK(exits > seeds / 10);
    CHECK(exits < seeds * 9 / 10);
    CHECK(commits > seeds * 3);
    CHECK(aborts > seeds / 20);
    CHECK(upgrades > seeds / 20);
    CHECK(announced_stops > seeds / 50);
    CHECK(budget_spent > seeds / 50);
    CHECK(lent > seeds);
    CHECK(orphans_ended > seeds / 20);
}

TEST_CASE("the same seed makes the same world") {
    std::size_t entries = 0;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        const Outcome once = World{seed, true}.run();
        const Outcome again = World{seed, true}.run();
        CHECK(once.diary == again.diary);
        entries += once.diary.size();
    }
    CHECK(entries > 1'000);
}
