module;
#include <poll.h>
#include <sys/types.h>
export module ringfort.master:state;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;
import ringfort.std;
import :builder;
import :control;
import :estate;
import :loop;
import :policy;
import :pools;
import :roster;
import :shortcomings;

// Not exported: the master's own state, shared by the files that implement it.
namespace ringfort::master {

/// Names the descriptor of the channel to the master that started this process.
inline constexpr const char* predecessor_variable = "RINGFORT_PREDECESSOR";

/// Returns a number that another master hardly has. Source: getrandom(2).
[[nodiscard]] std::uint64_t random_seed() noexcept;

/// What a generation is prepared for.
enum class Purpose : std::uint8_t {
    to_serve,
    to_tell  ///< what a reload would do: nothing is made that would replace what is there
};

/// What the master keeps of a generation while it has workers.
struct Generation {
    std::unique_ptr<cycle::Cycle> cycle;
    std::optional<process::Credentials> credentials;
    std::optional<process::PidFile> new_pid_file;  ///< takes effect when the generation serves
    bool pid_file_is_held = false;                 ///< by another master, or one that starts
    std::shared_ptr<cycle::Listener> new_control;  ///< so does this
    Shortcomings shortcomings;  ///< logged when it serves: before, its log is not the master's
    bool abandoned = false;
};

/// A build as far as it has got: the text, and what was made of it.
struct Draft {
    config::Source source;
    Generation generation;
};

/// The new binary of an upgrade, as the old one sees it.
struct Successor {
    process::Child process;
    channel::Channel channel;
    bool channel_open = true;
    bool ready = false;     ///< it has said so, and nobody has acted on that yet
    bool gives_up = false;  ///< it has said so
};

/// The loop (loop.cpp), the building of cycles (build.cpp, reload.cpp), upgrades (upgrade.cpp,
/// inherit.cpp), what a service manager keeps (keep.cpp), the control socket (orders.cpp) and the
/// carrying out of the policy's actions (actions.cpp, listeners.cpp). One thread; blocks only in
/// ppoll(2), and in the building of its first cycle.
class Master {
public:
    explicit Master(const Application& application) : application_{application} {}

    int run(config::Settings first);

private:
    // loop.cpp
    void wait_and_handle(process::SignalFd& signals);
    void handle_signals(process::SignalFd& signals);
    void handle_message(WorkerProcess& worker);
    void handle_exit(WorkerId id);
    void on_message(WorkerProcess& worker, const channel::Message& message);
    void kill_for_garbage(WorkerProcess& worker, const std::string& what);
    void raise(const Event& event) { events_.push_back(event); }
    void process_events();
    void add_others(std::vector<pollfd>& polled) const;
    void serve_others();

    // build.cpp
    void build_first(config::Settings settings);
    std::vector<std::string> prepare(Generation& generation, const config::Settings& settings,
                                     pid_t master, Purpose purpose) const;
    void found(Generation generation, config::Settings settings, cycle::Stock stock,
               std::vector<std::string> obstacles);
    void build_failed(const std::vector<std::string>& obstacles);

    // reload.cpp
    void begin_build();
    void rehearse(std::uint64_t client);
    /// Who a builder is to the pools.
    struct Errand {
        std::uint32_t row = 0;
        shm::OwnerName name;
    };
    Result<Builder> start_builder(std::string_view title, std::uint64_t client,
                                  const Builder::Work& work) const;
    void bury_builder();
    void serve_builder(std::optional<Builder>& builder, void (Master::*end)(Estate));
    void end_build(Estate estate);
    void end_rehearsal(Estate estate);
    std::vector<std::string> draft(Draft& draft, pid_t master, cycle::BuildOptions options,
                                   const Send& send) const;
    bool build_apart(const Send& send, pid_t master, const Errand& errand) const;
    bool rehearse_apart(const Send& send, pid_t master) const;
    [[nodiscard]] const cycle::Cycle* current_cycle() const;
    [[nodiscard]] cycle::Stock current_stock() const;
    [[nodiscard]] Instant build_deadline() const;

    // keep.cpp
    void accept_passed();
    void keep_descriptors(const cycle::Cycle& cycle);
    void leave_files();

    // inherit.cpp
    Result<void> inherit(const config::Settings& settings);
    Result<void> inherit_from_predecessor();
    void succeed();
    void take_over();
    void give_up();
    void serve_predecessor();
    void lose_predecessor(const Error& error);
    void on_predecessor_message(const channel::Message& message);

    // upgrade.cpp
    Result<void> start_successor();
    Result<void> offer_estate();
    void serve_successor();
    void on_successor_message(const channel::Message& message);
    void for_each_listener(void (cycle::Listener::*act)() noexcept);
    void take_back();
    void retire();
    void tell_main_process();

    // orders.cpp
    void obey(const std::vector<ControlRequest>& requests);
    void answer(std::vector<std::uint64_t>& clients, bool success, const std::string& text);
    void answer_reload();
    void refuse_reloads();
    void note_finding(std::string line);
    void note_of_worker(WorkerId id, std::string_view what);
    [[nodiscard]] std::string status() const;
    [[nodiscard]] ControlAnswer readiness() const;
    [[nodiscard]] std::string zones() const;
    [[nodiscard]] ControlAnswer set_log_level(std::string_view name);

    // actions.cpp, and listeners.cpp
    void carry_out(const action::BuildCycle& action);
    void carry_out(const action::Spawn& action);
    void carry_out(const action::Introduce& action);
    void carry_out(const action::Part& action);
    void carry_out(const action::DrainWorker& action);
    void carry_out(const action::TerminateWorker& action);
    void carry_out(const action::KillWorker& action);
    void carry_out(const action::CheckPulse& action);
    void carry_out(const action::AbortWorker& action);
    void carry_out(const action::Lend& action);
    void carry_out(const action::TakeBack& action);
    void carry_out(const action::EndOrphans& action);
    void carry_out(const action::Commit& action);
    void carry_out(const action::Abandon& action);
    void carry_out(const action::Release& action);
    void carry_out(const action::Postpone& action);
    void carry_out(const action::AnnounceStop& action);
    void carry_out(const action::ReopenLogs& action);
    void carry_out(const action::Refuse& action);
    void carry_out(const action::AbortBuild& action);
    void carry_out(const action::StartSuccessor& action);
    void carry_out(const action::HandOver& action);
    void carry_out(const action::EndSuccessor& action);
    void carry_out(const action::KillSuccessor& action);
    void carry_out(const action::FailUpgrade& action);
    void carry_out(const action::RefuseUpgrade& action);
    void carry_out(const action::Exit& action);
    Result<void> spawn(WorkerId id, const Generation& generation);
    void show_door(WorkerProcess& worker, const Generation& generation);
    void equip(WorkerProcess& worker);
    void use_log(const cycle::Cycle& cycle);
    void place_files(Generation& generation);
    [[nodiscard]] log::Level level_of(std::uint32_t generation) const;
    [[nodiscard]] std::optional<std::uint32_t> free_row();
    [[nodiscard]] std::vector<std::uint64_t> own_processes() const;

    // listeners.cpp
    void give_new_listeners(std::uint32_t generation);
    void send(WorkerProcess& worker, const channel::Message& message, channel::Fds fds = {});
    void announce_stop();
    void begin_to_stop();

    const Application& application_;
    Policy policy_{random_seed()};
    Roster roster_;
    Pools pools_;
    std::map<std::uint32_t, Generation> generations_;
    std::deque<Event> events_;
    std::optional<process::PidFile> pid_file_;
    std::uint32_t last_generation_ = 0;
    std::uint32_t served_generation_ = 0;  ///< the last one that became current
    bool served_ = false;
    bool announced_ = false;
    bool stopping_ = false;
    std::optional<int> exit_code_;
    ControlServer control_;
    // Who waits for an answer: for a reload or an upgrade that is still to begin, for the one under
    // way, for the reopening of logs, for the end.
    std::vector<std::uint64_t> reload_askers_, reload_watchers_, upgrade_askers_, upgrade_watchers_,
        reopen_askers_, end_askers_;
    std::vector<std::string> findings_;    ///< what stands in the way of what is under way
    std::optional<log::Level> log_level_;  ///< by an order, until the next reload
    process::Environment environment_;     ///< as it was at the start
    Instant started_ = now();
    process::ServiceManager manager_;
    std::optional<Builder> build_, rehearsal_;
    std::uint32_t build_row_ = 0;  ///< the builder's in the pools, while there is one
    bool build_waits_ = false;     ///< for the rehearsal to end
    bool reopened_again_ = false;  ///< logs, while a cycle was built
    std::optional<Successor> successor_;
    bool handed_over_ = false;               ///< all has been left to it
    bool told_main_process_ = false;         ///< that it is the main process now
    std::shared_ptr<cycle::Listener> door_;  ///< the control socket that was left to it
    std::optional<channel::Channel> predecessor_;
    bool orphaned_ = false;  ///< that is a worker whose master has died
    std::vector<std::shared_ptr<cycle::Listener>> passed_;  ///< by the service manager
    cycle::Kept kept_;                                      ///< by it, too
    Estate inheritance_;  ///< of the predecessor, until the first cycle is built of it
};

/// Writes each problem of a configuration into a line.
[[nodiscard]] std::vector<std::string> lines_of(const config::Problems& problems);
/// Reads the generation's time limits out of its settings.
[[nodiscard]] Timing timing_of(const config::Settings& settings);
/// Decides how many workers to run: the configured number, or one for each processor.
[[nodiscard]] std::uint32_t worker_count(const config::Settings& settings);
/// Tells a predecessor what keeps this process from succeeding it.
void complain_to(channel::Channel& predecessor, const std::vector<std::string>& obstacles);

}  // namespace ringfort::master
