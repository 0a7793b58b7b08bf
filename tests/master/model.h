/// A model of the kernel and the workers below a policy: what the policy asks for happens, fails,
/// hangs or comes too late, as the seed wants it. Include it after the imports.
#pragma once
#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace testing {

/// splitmix64: a new seed costs nothing, and every machine gets the same numbers.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_{seed} {}
    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    /// A number from `low` to `high`, both possible.
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
    }
    bool percent(std::int64_t chance) { return between(1, 100) <= chance; }

private:
    std::uint64_t state_;
};

/// How bad this world is, in percent; a seed draws its own.
struct Weather {
    std::int64_t spawn_fails = 0;
    std::int64_t build_fails = 0;
    std::int64_t never_ready = 0;
    std::int64_t crashes_early = 0;
    std::int64_t crashes_later = 0;
    std::int64_t ignores_drain = 0;
    std::int64_t ignores_terminate = 0;
    std::int64_t hangs = 0;  ///< once it is ready: it makes no progress, and hears nothing
    std::int64_t survives_abort = 0;
    std::int64_t successor_fails = 0;
    std::int64_t successor_hangs = 0;
    std::int64_t orphans_busy = 0;
};

class Model {
public:
    using WorkerId = ringfort::master::WorkerId;
    using Event = ringfort::master::Event;
    using Instant = ringfort::Instant;
    using Milliseconds = ringfort::Milliseconds;

    Model(Random& random, Weather weather) : random_{random}, weather_{weather} {}

    /// From now on everything new succeeds; what lives already keeps its fate.
    void clear_up() { weather_ = {}; }

    /// Returns the event that comes next, at the latest at `time`, and takes it away.
    std::optional<Event> take(Instant time) {
        if (!at_once_.empty()) {
            const Event event = at_once_.front();
            at_once_.pop_front();
            return event;
        }
        const auto first = pending_.begin();
        if (first == pending_.end() || first->first > time) return std::nullopt;
        const auto [event, life] = first->second;
        pending_.erase(first);
        if (life != 0 && !comes_true(event, life)) return take(time);
        return event;
    }
    /// Returns when something comes next.
    [[nodiscard]] std::optional<Instant> next() const {
        if (!at_once_.empty()) return Instant::min();
        if (pending_.empty()) return std::nullopt;
        return pending_.begin()->first;
    }
    [[nodiscard]] bool lives(WorkerId worker) const { return lives_.contains(worker); }
    [[nodiscard]] bool nobody_lives() const { return lives_.empty(); }

    // What the policy asks for.
    void build(Instant time, ringfort::master::event::CycleBuilt built) {
        Event answer = ringfort::master::event::CycleFailed{};
        if (!random_.percent(weather_.build_fails)) {
            built.generation = ++last_generation_;
            if (built.inherited) inherited_ = built.generation;
            answer = built;
        }
        if (random_.percent(50))
            at_once_.push_back(answer);
        else
            later(time, random_.between(0, 500), answer, 0);
    }
    void spawn(WorkerId worker, Instant time) {
        if (random_.percent(weather_.spawn_fails)) {
            at_once_.emplace_back(ringfort::master::event::SpawnFailed{worker});
            return;
        }
        const std::uint64_t life = lives_[worker] = ++last_life_;
        const ringfort::master::event::WorkerExited exit{worker};
        if (random_.percent(weather_.crashes_early))
            return later(time, random_.between(0, 200), exit, life);
        if (random_.percent(weather_.never_ready)) return;
        const std::int64_t delay = random_.between(0, 300);
        later(time, delay, ringfort::master::event::WorkerReady{worker}, life);
        if (random_.percent(weather_.hangs))
            hangs_from_[worker] = time + Milliseconds{delay + random_.between(0, 10'000)};
        if (random_.percent(weather_.crashes_later))
            later(time, delay + random_.between(0, 15'000), exit, life);
    }
    void drain(WorkerId worker, Milliseconds timeout, Instant time) {
        if (hears_nothing(worker, time) || random_.percent(weather_.ignores_drain)) return;
        end(worker, random_.between(0, timeout.count()), time);
    }
    void terminate(WorkerId worker, Instant time) {
        if (hears_nothing(worker, time) || random_.percent(weather_.ignores_terminate)) return;
        end(worker, random_.between(0, 100), time);
    }
    void check_pulse(WorkerId worker, Instant time) {
        if (!lives(worker)) return;
        const Instant last = hangs(worker, time) ? hangs_from_.at(worker)
                                                 : time - Milliseconds{random_.between(0, 10)};
        at_once_.emplace_back(ringfort::master::event::Pulse{worker, last});
    }
    void abort(WorkerId worker, Instant time) {
        if (lives(worker) && !random_.percent(weather_.survives_abort))
            end(worker, random_.between(0, 50), time);
    }
    /// A cycle keeps the sockets of its own workers at least.
    void end_orphans(std::uint32_t generation, std::uint32_t slots) {
        if (random_.percent(weather_.orphans_busy))
            at_once_.emplace_back(ringfort::master::event::OrphansBusy{generation});
        else
            at_once_.emplace_back(ringfort::master::event::OrphansEnded{generation, slots});
    }
    void kill(WorkerId worker, Instant time) {
        if (lives(worker)) end(worker, random_.between(0, 50), time);
    }

    void start_successor(Instant time) {
        successor_ = ++last_life_;
        const ringfort::master::event::SuccessorExited exit{};
        if (random_.percent(weather_.successor_fails)) {
            if (random_.percent(30))
                at_once_.emplace_back(exit);
            else
                later(time, random_.between(0, 500), exit, successor_);
        } else if (!random_.percent(weather_.successor_hangs)) {
            const std::int64_t delay = random_.between(0, 500);
            const std::int64_t more = random_.between(0, 500);
            if (random_.percent(weather_.successor_fails)) {
                later(time, delay, ringfort::master::event::SuccessorGivesUp{}, successor_);
                if (random_.percent(50)) later(time, delay + more, exit, successor_);
                return;
            }
            later(time, delay, ringfort::master::event::SuccessorReady{}, successor_);
            if (!random_.percent(weather_.successor_hangs))
                later(time, delay + more / 5, ringfort::master::event::SuccessorTookOver{},
                      successor_);
            if (random_.percent(10)) later(time, delay + random_.between(0, 500), exit, successor_);
        }
    }
    /// A predecessor leaves all to an inherited generation that serves.
    void take_over(std::uint32_t generation, Instant time) {
        if (generation != inherited_) return;
        if (random_.percent(30))
            at_once_.emplace_back(ringfort::master::event::TakenOver{});
        else
            later(time, random_.between(0, 3'000), ringfort::master::event::TakenOver{}, 0);
    }
    void end_successor(Instant time) {
        if (!random_.percent(weather_.ignores_terminate)) kill_successor(time);
    }
    void kill_successor(Instant time) {
        later(time, random_.between(0, 50), ringfort::master::event::SuccessorExited{}, successor_);
    }

private:
    struct Pending {
        Event event;
        std::uint64_t life;  ///< of the worker it is about; 0 when about none
    };

    [[nodiscard]] bool hangs(WorkerId worker, Instant time) const {
        const auto from = hangs_from_.find(worker);
        return from != hangs_from_.end() && from->second <= time;
    }
    [[nodiscard]] bool hears_nothing(WorkerId worker, Instant time) const {
        return !lives(worker) || hangs(worker, time);
    }
    void later(Instant time, std::int64_t delay, Event event, std::uint64_t life) {
        pending_.emplace(time + Milliseconds{delay}, Pending{event, life});
    }
    void end(WorkerId worker, std::int64_t delay, Instant time) {
        later(time, delay, ringfort::master::event::WorkerExited{worker}, lives_.at(worker));
    }
    /// Nothing comes from a process that has ended, and it ends once.
    bool comes_true(const Event& event, std::uint64_t life) {
        if (std::holds_alternative<ringfort::master::event::SuccessorReady>(event) ||
            std::holds_alternative<ringfort::master::event::SuccessorTookOver>(event) ||
            std::holds_alternative<ringfort::master::event::SuccessorGivesUp>(event))
            return life == successor_;
        if (std::holds_alternative<ringfort::master::event::SuccessorExited>(event))
            return std::exchange(successor_, life == successor_ ? 0 : successor_) == life;
        if (const auto* ready = std::get_if<ringfort::master::event::WorkerReady>(&event)) {
            const auto found = lives_.find(ready->worker);
            return found != lives_.end() && found->second == life;
        }
        const auto found =
            lives_.find(std::get<ringfort::master::event::WorkerExited>(event).worker);
        if (found == lives_.end() || found->second != life) return false;
        hangs_from_.erase(found->first);
        lives_.erase(found);
        return true;
    }

    Random& random_;
    Weather weather_;
    std::deque<Event> at_once_;
    std::multimap<Instant, Pending> pending_;
    std::map<WorkerId, std::uint64_t> lives_;  ///< the processes, each with a number of its own
    std::map<WorkerId, Instant> hangs_from_;
    std::uint64_t last_life_ = 0;
    std::uint64_t successor_ = 0;  ///< its life
    std::uint32_t last_generation_ = 0;
    std::uint32_t inherited_ = 0;  ///< the generation that is
};

}  // namespace testing
