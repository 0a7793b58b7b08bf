export module ringfort.master:policy;

import ringfort.base;
import ringfort.std;

export namespace ringfort::master {

/// A worker process: its place among the workers of one generation.
struct WorkerId {
    std::uint32_t generation = 0;
    std::uint32_t slot = 0;
    friend auto operator<=>(const WorkerId&, const WorkerId&) = default;
};

/// The limits of one generation, nearly all of them of time; they come from its settings.
struct Timing {
    Milliseconds ready_timeout = limits::ready_timeout_ms;
    Milliseconds drain_timeout = limits::drain_timeout_ms;
    Milliseconds kill_timeout = limits::kill_timeout_ms;
    Milliseconds backoff_min = limits::respawn_backoff_min_ms;
    Milliseconds backoff_max = limits::respawn_backoff_max_ms;
    Milliseconds healthy = limits::respawn_healthy_ms;
    std::uint32_t respawn_budget = limits::respawn_budget;  ///< for failures in a row
    Milliseconds shutdown_delay = limits::shutdown_delay_ms;
    Milliseconds watchdog = limits::watchdog_ms;  ///< 0: none
    Milliseconds upgrade_timeout = limits::upgrade_timeout_ms;
    Milliseconds orphan_linger = limits::orphan_linger_ms;
    Milliseconds orphan_check = limits::orphan_check_ms;
};

/// How far a generation is in its life.
enum class GenerationPhase : std::uint8_t { starting, current, leaving };

/// How far a worker is in its life; from `starting` on there is a process.
enum class WorkerState : std::uint8_t {
    none,
    backing_off,  ///< is spawned again at its deadline
    starting,
    ready,
    draining,
    terminating,
    aborting,
    killed
};

/// What the policy knows of a worker.
struct WorkerStatus {
    WorkerState state = WorkerState::none;
    Instant since{};                  ///< of the state
    std::optional<Instant> deadline;  ///< by which it has to leave the state
    std::uint32_t failures = 0;       ///< in a row
    bool overdue = false;             ///< for half of the watchdog's time: others stand in
};

/// What the policy knows of a generation: a status for every slot.
struct GenerationStatus {
    std::uint32_t number = 0;
    GenerationPhase phase = GenerationPhase::starting;
    std::vector<WorkerStatus> workers;
    std::vector<std::optional<std::uint32_t>> lent;  ///< by slot with sockets: to which other
    bool orphans = false;                            ///< sockets that are to be closed
    std::uint32_t respawn_budget = 0;                ///< what is left of it, at the time asked for
};

/// What has happened. The loop turns signals, messages and exits into these.
namespace event {
struct CycleBuilt {  ///< a snapshot is complete: the answer to action::BuildCycle, or the first one
    std::uint32_t generation;
    std::uint32_t workers;
    Timing timing;
    std::uint32_t slots = 0;  ///< with sockets of their own; those from `workers` on are orphans'
    bool orphans = false;     ///< there are sockets that are to be closed once they are empty
    bool inherited = false;   ///< another master, or what it has left, serves with the same sockets
};
struct CycleFailed {};  ///< the other answer: nothing was changed
struct SpawnFailed {
    WorkerId worker;
};
struct WorkerReady {
    WorkerId worker;
};
struct WorkerExited {  ///< reaped, for whatever reason
    WorkerId worker;
};
struct Pulse {  ///< the answer to action::CheckPulse
    WorkerId worker;
    Instant last;  ///< when it last made progress
};
struct OrphansEnded {  ///< one answer to action::EndOrphans
    std::uint32_t generation;
    std::uint32_t slots;  ///< that still have sockets of their own
};
struct OrphansBusy {  ///< the other answer: connections wait in them
    std::uint32_t generation;
};
struct Reload {};
struct Upgrade {};
struct TakenOver {};          ///< what an inherited generation serves with is this master's own now
struct SuccessorReady {};     ///< it serves, beside this master
struct SuccessorTookOver {};  ///< all is its own now: this master's part is to go
struct SuccessorGivesUp {};   ///< it will not serve; it ends when its connections have
struct SuccessorExited {};  ///< or could not be started; the answer to action::StartSuccessor, too
struct Reopen {};
struct Drain {};  ///< stop when the connections have ended; a further one goes on to the next step
struct Terminate {};  ///< stop at once
struct Tick {};       ///< `next_deadline` may have passed
}  // namespace event
/// Everything the policy is told.
using Event =
    std::variant<event::CycleBuilt, event::CycleFailed, event::SpawnFailed, event::WorkerReady,
                 event::WorkerExited, event::Pulse, event::OrphansEnded, event::OrphansBusy,
                 event::Reload, event::Upgrade, event::TakenOver, event::SuccessorReady,
                 event::SuccessorTookOver, event::SuccessorGivesUp, event::SuccessorExited,
                 event::Reopen, event::Drain, event::Terminate, event::Tick>;

/// Why a generation did not become current.
enum class Obstacle : std::uint8_t { none, cycle, spawn, worker_exited, ready_timeout, stopping };

/// What is to be done about it, in order.
namespace action {
struct BuildCycle {};  ///< answered by CycleBuilt or CycleFailed
struct AbortBuild {};  ///< nobody needs it any more; it is answered all the same
struct Spawn {         ///< answered by SpawnFailed, or in time by WorkerReady or WorkerExited
    WorkerId worker;
};
struct Introduce {  ///< opens a channel between two workers
    WorkerId worker;
    WorkerId peer;
};
struct Part {  ///< tells `worker` that `peer` has gone
    WorkerId worker;
    WorkerId peer;
};
struct DrainWorker {
    WorkerId worker;
    Milliseconds timeout;
};
struct TerminateWorker {
    WorkerId worker;
};
struct KillWorker {  ///< it did not answer
    WorkerId worker;
};
struct CheckPulse {  ///< answered by Pulse
    WorkerId worker;
};
struct AbortWorker {  ///< it makes no progress: it is to leave a trace, and end
    WorkerId worker;
    Milliseconds silence;
};
struct Lend {  ///< the sockets of `slot`, whose worker does not serve, are given to `worker`
    std::uint32_t slot;
    WorkerId worker;
};
struct TakeBack {  ///< ends that
    std::uint32_t slot;
    WorkerId worker;
};
struct EndOrphans {  ///< answered by OrphansEnded or OrphansBusy
    std::uint32_t generation;
};
struct Commit {  ///< the generation serves; the one before it drains. If inherited: TakenOver
                 ///< follows
    std::uint32_t generation;
};
struct Abandon {  ///< the generation will not serve
    std::uint32_t generation;
    Obstacle obstacle;
};
struct Release {  ///< no process of the generation is left: its cycle may go
    std::uint32_t generation;
};
struct Postpone {  ///< the worker is respawned after `delay`
    WorkerId worker;
    Milliseconds delay;
    std::uint32_t failures;
    bool budget_spent = false;  ///< and so the delay is as long as may be
};
struct ReopenLogs {};    ///< this master's, and its workers'
struct Refuse {};        ///< a reload was asked for while stopping
struct AnnounceStop {};  ///< the workers serve on for now, but nobody is to count on this server
/// Starts the new binary, which begins with what this master has; answered by SuccessorReady,
/// SuccessorGivesUp or SuccessorExited.
struct StartSuccessor {};
struct HandOver {};       ///< leaves it all to it; answered by SuccessorTookOver or SuccessorExited
struct EndSuccessor {};   ///< it will not take over; answered by SuccessorExited
struct KillSuccessor {};  ///< it did not end
struct FailUpgrade {};    ///< this master goes on
struct RefuseUpgrade {};  ///< one was asked for at a bad moment
struct Exit {
    int code;
};
}  // namespace action
/// Everything the policy asks for.
using Action =
    std::variant<action::BuildCycle, action::Spawn, action::Introduce, action::Part,
                 action::DrainWorker, action::TerminateWorker, action::KillWorker,
                 action::CheckPulse, action::AbortWorker, action::Lend, action::TakeBack,
                 action::EndOrphans, action::Commit, action::Abandon, action::Release,
                 action::Postpone, action::ReopenLogs, action::Refuse, action::AnnounceStop,
                 action::AbortBuild, action::StartSuccessor, action::HandOver, action::EndSuccessor,
                 action::KillSuccessor, action::FailUpgrade, action::RefuseUpgrade, action::Exit>;
/// What one step asks for, to be carried out in this order.
using Actions = std::vector<Action>;

/// Every decision of the master, as a state machine without a kernel: events and the time go in,
/// actions come out. The same seed and the same events at the same times give the same actions.
///
/// Invariants: at most one generation is current and at most one is starting; a generation becomes
/// current only when all its workers are ready, and only then does its predecessor drain; a worker
/// of the current generation that ends is started again; every worker is given a deadline to end by
/// and is killed after it; one that serves or drains without progress is aborted, and killed if it
/// survives that; nothing is spawned once stopping has begun, nor anything new begun once it is
/// announced; a successor takes over when it is
/// ready and has taken over, and only then does this master stop; one that dies before changes
/// nothing. Where slots have sockets of their own, those of every slot of the current generation
/// have a worker that serves them, as long as one serves: its own, or while that one does not, or
/// is overdue for half of the watchdog's time, a sibling. Source: nginx
/// src/os/unix/ngx_process_cycle.c, whose flags and 100 ms sleep this replaces.
class Policy {
public:
    /// `seed` spreads the respawns: masters that do not share it do not respawn in step.
    explicit Policy(std::uint64_t seed = 0) : random_{seed} {}

    /// Decides. `time` never goes back from one call to the next.
    [[nodiscard]] Actions step(const Event& event, Instant time);
    /// Returns when to call again with a Tick; nothing when there is no need.
    [[nodiscard]] std::optional<Instant> next_deadline() const;

    /// Returns the generation that serves; nothing before the first one and once stopping has
    /// begun.
    [[nodiscard]] std::optional<std::uint32_t> current_generation() const;
    /// Counts the generations that have processes.
    [[nodiscard]] std::size_t living_generations() const noexcept { return generations_.size(); }
    /// Returns the generations that have processes, or are to have some; oldest first.
    [[nodiscard]] std::vector<GenerationStatus> status(Instant time) const;
    /// Counts the workers that serve.
    [[nodiscard]] std::uint32_t serving() const;
    [[nodiscard]] bool stopping() const noexcept { return stopping_ != Stopping::no; }
    /// Tells whether it stops, or has announced that it will: nothing new is begun any more.
    [[nodiscard]] bool closing() const noexcept { return stopping() || drain_at_.has_value(); }
    /// Tells whether it stops because another master has taken over.
    [[nodiscard]] bool superseded() const noexcept { return upgrade_ == Upgrade::done; }
    /// Tells whether a reload or an upgrade is under way, or the start,
    /// or the take-over from another master.
    [[nodiscard]] bool busy() const noexcept;

private:
    using State = WorkerState;
    struct Worker : WorkerStatus {
        std::optional<Instant> check;      ///< when its pulse is to be looked at
        Instant trusted_until{};           ///< it is taken to have made progress until then
        std::optional<Instant> suspected;  ///< its last pulse, when that was found overdue
        [[nodiscard]] bool alive() const noexcept { return state >= State::starting; }
        [[nodiscard]] bool watched() const noexcept {
            return state == State::ready || state == State::draining;
        }
    };
    using Phase = GenerationPhase;
    struct Generation {
        std::uint32_t number = 0;
        Phase phase = Phase::starting;
        Timing timing;
        std::vector<Worker> workers;
        std::vector<std::optional<std::uint32_t>> lent;  ///< by slot with sockets: to which other
        bool orphans = false;
        bool inherited = false;
        std::optional<Instant> orphans_due;  ///< when they are to be closed, if it is current
        Instant budget_whole{};              ///< from when on nothing of the budget is spent
        [[nodiscard]] bool serves(std::uint32_t slot) const noexcept {
            return slot < workers.size() && workers[slot].state == State::ready &&
                   !workers[slot].overdue;
        }
    };
    enum class Stopping : std::uint8_t { no, draining, terminating };
    enum class Upgrade : std::uint8_t {
        no,
        starting,
        ending,   ///< it has had its time, and was told to end
        failed,   ///< it has given up, and finishes its connections
        leaving,  ///< it serves, and all has been left to it
        done      ///< and it has taken that over
    };

    void on(const event::CycleBuilt& event);
    void on(const event::CycleFailed& event);
    void on(const event::SpawnFailed& event);
    void on(const event::WorkerReady& event);
    void on(const event::WorkerExited& event);
    void on(const event::Pulse& event);
    void on(const event::OrphansEnded& event);
    void on(const event::OrphansBusy& event);
    void on(const event::Reload& event);
    void on(const event::Upgrade& event);
    void on(const event::TakenOver& event);
    void on(const event::SuccessorReady& event);
    void on(const event::SuccessorTookOver& event);
    void on(const event::SuccessorGivesUp& event);
    void on(const event::SuccessorExited& event);
    void on(const event::Reopen& event);
    void on(const event::Drain& event);
    void on(const event::Terminate& event);
    void on(const event::Tick& event);

    Generation* find(std::uint32_t number);
    Worker* find(WorkerId id);
    Generation* in_phase(Phase phase);
    [[nodiscard]] const Generation* in_phase(Phase phase) const;
    [[nodiscard]] std::optional<Instant> full_until() const;
    [[nodiscard]] bool upgrading() const noexcept {
        return upgrade_ == Upgrade::starting || upgrade_ == Upgrade::ending ||
               upgrade_ == Upgrade::leaving;
    }
    /// Tells whether there is another master that is to be heard of before this one exits.
    [[nodiscard]] bool has_successor() const noexcept {
        return upgrade_ != Upgrade::no && upgrade_ != Upgrade::done;
    }
    void spawn(Generation& generation, std::uint32_t slot);
    void postpone(Generation& generation, std::uint32_t slot);
    Milliseconds spread(Milliseconds delay, const Timing& timing);
    static std::uint32_t budget_of(const Generation& generation, Instant time);
    void abandon(Generation& generation, Obstacle obstacle);
    void commit(Generation& generation);
    void drain(Generation& generation);
    void terminate(Generation& generation);
    void terminate(Generation& generation, std::uint32_t slot);
    void expire(Generation& generation, std::uint32_t slot);
    void trust(Worker& worker, const Generation& generation);
    static Milliseconds patience(const Generation& generation);
    void check(const Generation& generation, std::uint32_t slot, Worker& worker);
    void check_orphans(Generation& generation);
    void dispatch(Generation& generation);
    static std::optional<std::uint32_t> least_burdened(const Generation& generation);
    void hurry_oldest();
    bool announce();
    void call_off(Stopping how);
    void stop(Stopping how);
    void end_successor();
    void next_reload();
    void settle();

    std::vector<Generation> generations_;  ///< oldest first
    Stopping stopping_ = Stopping::no;
    std::optional<Instant> drain_at_;  ///< announced for then
    Upgrade upgrade_ = Upgrade::no;
    std::optional<Instant> upgrade_deadline_;
    // Of the generation that served when the upgrade began.
    Milliseconds drain_timeout_{0};
    Milliseconds kill_timeout_{0};
    bool taking_over_ = false;  ///< it serves, and its predecessor has not gone out of its way yet
    bool building_ = true;      ///< the first cycle is on its way
    bool reload_again_ = false;
    bool ever_served_ = false;
    bool exited_ = false;
    std::mt19937_64 random_;
    Instant time_{};
    Actions actions_;
};

}  // namespace ringfort::master
