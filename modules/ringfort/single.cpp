module;
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <coroutine>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.coro;
import ringfort.cycle;
import ringfort.master;
import ringfort.process;
import ringfort.shm;
import ringfort.uring;
import ringfort.worker;

namespace ringfort {
namespace {

/// Opens what tells of signals. One that is being debugged leaves INT to the debugger, which stops
/// it by that: a signal that is blocked never gets there.
Result<process::SignalFd> open_signals() {
    if (process::is_traced(::getpid()))
        return process::SignalFd::open({SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2});
    return process::SignalFd::open({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2});
}

void tell_what_is_missing(const config::Master& settings) {
    log::info("one process serves: there is no master, no respawn and no watchdog");
    if (!settings.user.empty())
        log::warning("master.user has no effect in a single process: it serves as who started it");
    if (!settings.control.empty())
        log::warning("master.control has no effect in a single process: it is told by signals");
    if (settings.shutdown_delay > Milliseconds{0})
        log::warning(
            "master.shutdown_delay_ms has no effect in a single process: it drains at once");
}

void set_limits(const config::Master& settings) {
    const auto files = process::set_open_files(settings.open_files);
    if (!files) log::warning("master.open_files: {}", files.error().text());
    if (!settings.core_size) return;
    const auto core = process::set_core_size(settings.core_size->count);
    if (!core) log::warning("master.core_size: {}", core.error().text());
}

void use_log(const cycle::Cycle& cycle) {
    const config::Log& settings = cycle.settings().log;
    log::configure({.level = settings.level, .format = settings.format});
    log::identify({.role = "single", .generation = cycle.generation()});
    if (!cycle.log_file()) return log::write_to(Fd{});
    if (auto file = cycle.log_file().duplicate())
        log::write_to(*std::move(file));
    else
        log::error("the log stays as it is: {}", file.error().text());
}

}  // namespace

int Single::run(config::Settings first) {
    auto signals = open_signals();
    if (!signals) {
        log::error("{}", signals.error().text());
        return 1;
    }
    signals_.emplace(*std::move(signals));
    if (const auto ignored = process::ignore({SIGPIPE}); !ignored)
        log::warning("{}", ignored.error().text());
    process::trace_aborts();
    log::identify({.role = "single"});
    log::take_standard_error();
    tell_what_is_missing(first.master);
    if (!build(std::move(first))) return 1;
    while (next_) {
        before_ = std::exchange(current_, std::move(next_));
        commit();
        const int code = serve();
        if (code == 0) continue;
        if (ready_ || !before_ || stopping_) return code;
        log::error("reload failed: generation {} cannot serve, so {} goes on",
                   current_->generation(), before_->generation());
        current_.reset();
        next_ = std::move(before_);
    }
    log::info("exit");
    return 0;
}

/// Builds the next cycle out of the current one; says what stands in the way of that.
bool Single::build(config::Settings settings) {
    std::vector<std::string> obstacles;
    const std::string path = settings.master.pid_file;
    if (!path.empty() && (!pid_file_ || pid_file_->path() != path)) {
        auto file = process::PidFile::create(path);
        if (file)
            new_pid_file_ = *std::move(file);
        else
            obstacles.push_back(master::pid_file_obstacle(path, file.error()));
    }
    master::raise_descriptors(settings);
    auto passed = cycle::accept_passed(process::take_passed_fds(), {});  // at the start alone
    if (!current_) passed_ = passed.listeners();
    cycle::Stock stock = current_ ? current_->stock() : std::move(passed.stock);
    pools_.keep(stock.zones, false);
    pools_.watch({process::identify(::getpid())}, false);
    const auto requests = application_.zones(settings);
    auto built =
        cycle::Cycle::build(std::move(settings), generation_ + 1, std::move(stock), requests,
                            {.open_pool = [this](shm::Zone& zone) { return pools_.open(zone); }});
    obstacles.insert(obstacles.end(), built.obstacles.begin(), built.obstacles.end());
    for (const std::string& obstacle : obstacles)
        log::error("{}: {}", served_ ? "reload failed" : "start failed", obstacle);
    if (!obstacles.empty()) {
        new_pid_file_.reset();
        return false;
    }
    next_ = std::move(built.cycle);
    ++generation_;
    return true;
}

/// Makes the current cycle's settings those of the process. Cannot fail.
void Single::commit() {
    const config::Master& settings = current_->settings().master;
    current_->update_listeners();
    use_log(*current_);
    set_limits(settings);
    if (new_pid_file_)
        pid_file_ = std::exchange(new_pid_file_, std::nullopt);
    else if (settings.pid_file.empty())
        pid_file_.reset();
    const auto adjusted = environment_.apply(settings.environment);
    if (!adjusted) log::error("master.environment: {}", adjusted.error().text());
}

/// Runs a worker on the current cycle to its end; returns its exit code.
int Single::serve() {
    equipped_ = 0;
    ready_ = false;
    draining_ = false;
    failed_ = false;
    auto ends = channel::Channel::pair();
    if (!ends) {
        log::error("{}", ends.error().text());
        return 1;
    }
    to_worker_.emplace(std::move(ends->first));
    pools_.release();
    pools_.keep(current_->zones(), false);
    const shm::OwnerName self{.generation = current_->generation(),
                              .process = process::identify(::getpid())};
    pools_.admit(0, self);
    worker::Options options = application_.worker(current_->settings());
    options.companion = this;
    const int code = worker::run(std::move(ends->second), std::move(options));
    (void)hear();  // its last words
    pools_.bury(0, self);
    to_worker_.reset();
    return failed_ ? 1 : code;
}

coro::Task<void> Single::attend(uring::Loop& loop) {
    coro::Scope tasks{co_await coro::current_context()};
    tasks.spawn(talk(loop));
    tasks.spawn(obey_signals(loop));
    tasks.spawn(tend(loop));
    co_await tasks.join();
}

/// Looks after the pools, as a master's loop does.
coro::Task<void> Single::tend(uring::Loop& loop) {
    for (;;) {
        pools_.tend(now());
        const auto due = pools_.next_deadline();
        const auto pause =
            due ? std::chrono::ceil<Milliseconds>(*due - now()) : limits::pool_check_ms;
        if (!co_await loop.sleep(std::max(pause, Milliseconds{1}))) co_return;
    }
}

/// Sends the worker what it needs, and hears what it says.
coro::Task<void> Single::talk(uring::Loop& loop) {
    for (;;) {
        equip();
        const auto polled = co_await worker::wait_for(loop, *to_worker_);
        if (!polled && !polled.error().is(std::errc::timed_out)) co_return;
        if (to_worker_->queued() > 0) (void)to_worker_->flush();
        if (!hear()) co_return;
    }
}

void Single::equip() {
    if (draining_) return;
    const channel::Start start{.slot = 0,
                               .generation = current_->generation(),
                               .row = 0,
                               .drain_timeout = current_->settings().master.drain_timeout};
    const auto equipped = master::equip(*to_worker_, *current_, start, equipped_);
    if (equipped) return;
    log::error("the worker cannot be equipped: {}", equipped.error().text());
    failed_ = true;
    terminate();
}

/// Takes what the worker has said; returns whether there may be more.
bool Single::hear() {
    for (;;) {
        const auto received = to_worker_->receive();
        if (!received) return false;
        if (!*received) return true;
        const channel::Message& message = (*received)->message;
        if (std::holds_alternative<channel::Ready>(message)) on_ready();
        if (const auto* failed = std::get_if<channel::Failed>(&message))
            log::error("{}", failed->text);
        if (const auto* shortcoming = std::get_if<channel::Shortcoming>(&message))
            log::warning("{}", shortcoming->text);
    }
}

void Single::on_ready() {
    ready_ = true;
    before_.reset();  // with it, the listeners that this configuration does without
    for (const cycle::Binding& binding : current_->bindings())
        if (!binding.carried_over)
            log::info("listening on {} (service {})", binding.first().text(),
                      binding.settings.service);
    if (std::exchange(served_, true)) {
        log::info("reload: generation {} serves, in one process", current_->generation());
    } else {
        log::info("ready: generation {}, in one process", current_->generation());
        cycle::use_passed(std::exchange(passed_, {}), *current_);
        if (application_.serving) application_.serving(*current_);
    }
    if (std::exchange(reload_again_, false)) reload();
}

coro::Task<void> Single::obey_signals(uring::Loop& loop) {
    for (;;) {
        if (!co_await loop.poll(signals_->fd(), POLLIN)) co_return;
        for (auto next = signals_->next(); next && *next; next = signals_->next())
            on_signal(**next);
    }
}

void Single::on_signal(const process::SignalInfo& signal) {
    log::info("signal {} from process {}", process::signal_name(signal.number), signal.sender);
    switch (signal.number) {
        case SIGHUP:
            return reload();
        case SIGUSR1:
            return reopen();
        case SIGTERM:
        case SIGQUIT:
            return stop();
        case SIGINT:
            stopping_ = true;
            return stop();
        default:
            log::warning("signal {} does nothing here", process::signal_name(signal.number));
    }
}

/// Has the worker make room for one with the configuration as it is now, if that is good.
void Single::reload() {
    if (stopping_) return log::warning("reload refused: the server is stopping");
    if (!ready_ || draining_) {
        reload_again_ = true;
        return;
    }
    log::info("reload: reading the configuration");
    auto parsed = application_.load();
    if (parsed) {
        if (build(*std::move(parsed))) drain();
        return;
    }
    for (const config::Problem& problem : parsed.problems().list)
        log::error("reload failed: {}{}", problem.headline(),
                   problem.help.empty() ? "" : " (" + problem.help + ")");
}

void Single::reopen() {
    const auto reopened = current_->reopen_log();
    if (reopened)
        use_log(*current_);
    else
        log::error("the log {} stays as it is: {}", current_->settings().log.target,
                   reopened.error().text());
    log::info("logs reopened");
}

/// Drains; the second time, and when it has drained anyway, ends at once.
void Single::stop() {
    next_.reset();
    before_.reset();
    current_->close_listeners();  // nobody will take what comes; the worker has its own copies
    if (std::exchange(stopping_, true))
        terminate();
    else
        drain();
}

void Single::drain() {
    if (std::exchange(draining_, true)) return;
    (void)to_worker_->send(channel::Drain{current_->settings().master.drain_timeout});
}

void Single::terminate() {
    draining_ = true;
    (void)to_worker_->send(channel::Terminate{});
}

}  // namespace ringfort
