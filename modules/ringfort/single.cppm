export module ringfort:single;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.coro;
import ringfort.cycle;
import ringfort.master;
import ringfort.process;
import ringfort.std;
import ringfort.uring;
import ringfort.worker;

// Not exported: the server without a master.
namespace ringfort {

/// What a server of one process is made of.
struct SingleApplication {
    std::function<config::Parsed()> load;  ///< reads the configuration anew, at each reload
    std::function<std::vector<cycle::ZoneRequest>(const config::Settings&)> zones;  ///< needed
    std::function<worker::Options(const config::Settings&)> worker;
    std::function<void(const cycle::Cycle&)> serving = {};  ///< called once, when it serves
};

/// A server in one process and one thread, for debuggers: builds cycles as a master does, and runs
/// one worker on each, after another. It sends that worker what a master would, over a channel
/// whose ends are both its own, from tasks on the worker's loop.
///
/// Invariants: the next cycle is built before the worker drains, so a bad configuration changes
/// nothing; its listeners are the old ones, so connections wait in them from one worker to the
/// next. Source: nginx os/unix/ngx_process_cycle.c, ngx_single_process_cycle.
class Single final : private worker::Companion {
public:
    explicit Single(const SingleApplication& application) : application_{application} {}

    /// Serves until told to stop. Blocks. Returns the exit code: 0 after a stop, 1 when it could
    /// not begin to serve or the worker has failed.
    [[nodiscard]] int run(config::Settings first);

private:
    [[nodiscard]] bool build(config::Settings settings);
    void commit();
    [[nodiscard]] int serve();
    coro::Task<void> attend(uring::Loop& loop) override;
    coro::Task<void> talk(uring::Loop& loop);
    coro::Task<void> obey_signals(uring::Loop& loop);
    coro::Task<void> tend(uring::Loop& loop);
    void equip();
    [[nodiscard]] bool hear();
    void on_ready();
    void on_signal(const process::SignalInfo& signal);
    void reload();
    void reopen();
    void stop();
    void drain();
    void terminate();

    const SingleApplication& application_;
    std::optional<process::SignalFd> signals_;
    process::Environment environment_ = process::Environment::current();
    std::optional<process::PidFile> pid_file_, new_pid_file_;
    master::Pools pools_;
    std::vector<std::shared_ptr<cycle::Listener>> passed_;  ///< by the service manager
    std::unique_ptr<cycle::Cycle> before_;  ///< to go back to, until the current one serves
    std::unique_ptr<cycle::Cycle> current_;
    std::unique_ptr<cycle::Cycle> next_;  ///< takes over when the worker has drained
    std::optional<channel::Channel> to_worker_;
    std::size_t equipped_ = 0;
    std::uint32_t generation_ = 0;
    bool served_ = false;  ///< at all
    bool ready_ = false;   ///< the worker that runs is
    bool draining_ = false;
    bool failed_ = false;  ///< the worker did not get what it needs
    bool stopping_ = false;
    bool reload_again_ = false;
};

}  // namespace ringfort
