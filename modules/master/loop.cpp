module;
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <compare>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.process;

namespace ringfort::master {
namespace {

/// How long to wait: until the earliest deadline, rounded up so that it has passed then.
int poll_timeout_ms(std::initializer_list<std::optional<Instant>> deadlines) {
    std::optional<Instant> deadline;
    for (const auto& one : deadlines)
        if (one && (!deadline || *one < *deadline)) deadline = one;
    if (!deadline) return -1;
    const auto left = std::chrono::ceil<Milliseconds>(*deadline - now()).count();
    constexpr std::int64_t longest = 3'600'000;
    return static_cast<int>(left < 0 ? 0 : left > longest ? longest : left);
}

/// Returns what a worker says if it is of this type and about itself, nullptr otherwise: what one
/// says of another is garbage.
template <class M>
const M* said(WorkerId by, const channel::Message& message) noexcept {
    const auto* const one = std::get_if<M>(&message);
    return one != nullptr && WorkerId{one->generation, one->slot} == by ? one : nullptr;
}

}  // namespace

std::uint64_t random_seed() noexcept {
    auto seed = static_cast<std::uint64_t>(now().time_since_epoch().count());
    (void)::getrandom(&seed, sizeof seed,
                      GRND_NONBLOCK);  // early in a machine's life there is none
    return seed;
}

int run(const Application& application, config::Settings first) {
    return Master{application}.run(std::move(first));
}

int Master::run(config::Settings first) {
    auto signals = process::SignalFd::open({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2});
    if (!signals) {
        log::error("{}", signals.error().text());
        return 1;
    }
    if (const auto ignored = process::ignore({SIGPIPE}); !ignored)
        log::warning("{}", ignored.error().text());
    log::identify({.role = "master"});
    log::take_standard_error();
    process::Title::set(application_.name + ": master");
    manager_ = process::ServiceManager::of_environment();
    if (const auto inherited = inherit(first); !inherited) {
        log::error("what the master before this one has cannot be taken over: {}",
                   inherited.error().text());
        if (predecessor_) complain_to(*predecessor_, {inherited.error().text()});
        return 1;
    }
    accept_passed();
    environment_ = process::Environment::current();
    build_first(std::move(first));
    process_events();
    while (!exit_code_) {
        wait_and_handle(*signals);
        manager_.beat(now());
        raise(event::Tick{});
        process_events();
    }
    log::info("exit");
    return *exit_code_;
}

/// Waits for workers and deals with them: messages first, so that a worker's last words are heard
/// before its end.
void Master::wait_and_handle(process::SignalFd& signals) {
    std::vector<pollfd> polled{{.fd = signals.fd(), .events = POLLIN, .revents = 0}};
    std::vector<WorkerId> ids;
    for (const auto& worker : roster_.workers()) {
        const short events = worker->channel.wants_write() ? POLLIN | POLLOUT : POLLIN;
        polled.push_back({.fd = worker->channel_open ? worker->channel.fd() : -1,
                          .events = events,
                          .revents = 0});
        polled.push_back({.fd = worker->process.pidfd.get(), .events = POLLIN, .revents = 0});
        ids.push_back(worker->id);
    }
    add_others(polled);
    const std::size_t control_at = polled.size();
    control_.add_to(polled, now());
    const auto due = [](const std::optional<Builder>& builder) {
        return builder ? builder->due() : std::nullopt;
    };
    int timeout_ms =
        poll_timeout_ms({policy_.next_deadline(), control_.next_deadline(), manager_.next_beat(),
                         due(build_), due(rehearsal_), pools_.next_deadline()});
    const bool retries = (successor_ && successor_->channel.wants_retry()) ||
                         std::ranges::any_of(roster_.workers(), [](const auto& worker) {
                             return worker->channel.wants_retry();
                         });
    if (retries)
        timeout_ms = std::min(timeout_ms < 0 ? INT_MAX : timeout_ms,
                              static_cast<int>(limits::channel_retry_ms.count()));
    const int ready = ::poll(polled.data(), polled.size(), timeout_ms);
    for (const auto& worker : roster_.workers()) {
        if (worker->channel.queued() == 0) continue;
        (void)worker->channel.flush();
        equip(*worker);
    }
    obey(control_.serve(std::span{polled}.subspan(control_at), now()));
    serve_others();
    if (ready <= 0) return;
    // Signals first: when one reaches the whole process group, the exits it causes are expected.
    handle_signals(signals);
    process_events();
    for (std::size_t i = 0; i < ids.size(); ++i) {
        WorkerProcess& worker = *roster_.find(ids[i]);
        const short channel_events = polled[1 + 2 * i].revents;
        const bool ended = polled[2 + 2 * i].revents != 0;
        if (channel_events != 0 || ended) handle_message(worker);
        if (ended) handle_exit(ids[i]);
    }
}

/// Appends the processes that are neither workers nor clients.
void Master::add_others(std::vector<pollfd>& polled) const {
    const auto add = [&](RawFd fd, short events = POLLIN) {
        polled.push_back({.fd = fd, .events = events, .revents = 0});
    };
    for (const auto* builder : {&build_, &rehearsal_})
        if (*builder) {
            add((*builder)->channel_fd());
            add((*builder)->pidfd());
        }
    if (successor_) {
        const bool full = successor_->channel.wants_write();
        if (successor_->channel_open)
            add(successor_->channel.fd(), full ? POLLIN | POLLOUT : POLLIN);
        add(successor_->process.pidfd.get());
    }
    if (predecessor_) add(predecessor_->fd());
    pools_.add_to(polled);
}

/// Goes on with them. Each is asked whether it has said something or ended; there are few.
void Master::serve_others() {
    serve_builder(build_, &Master::end_build);
    serve_builder(rehearsal_, &Master::end_rehearsal);
    serve_successor();
    serve_predecessor();
    if (pools_.unsure()) pools_.watch(own_processes(), true);
    pools_.tend(now());
}

void Master::handle_signals(process::SignalFd& signals) {
    for (;;) {
        const auto next = signals.next();
        if (!next || !*next) return;
        const process::SignalInfo& info = **next;
        log::info("signal {} from process {}", process::signal_name(info.number), info.sender);
        switch (info.number) {
            case SIGHUP:
                raise(event::Reload{});
                break;
            case SIGUSR2:
                raise(event::Upgrade{});
                break;
            case SIGUSR1:
                raise(event::Reopen{});
                break;
            case SIGTERM:
            case SIGQUIT:
                raise(event::Drain{});
                break;
            case SIGINT:
                raise(event::Terminate{});
                break;
            default:
                break;  // no other is received
        }
    }
}

void Master::handle_message(WorkerProcess& worker) {
    // Bounded, so that a worker that talks without end does not keep the master from the others.
    for (std::uint32_t i = 0; i < limits::messages_per_turn && worker.channel_open; ++i) {
        const auto received = worker.channel.receive();
        if (received && !*received) return;
        if (received) {
            on_message(worker, (*received)->message);
            continue;
        }
        if (received.error().is(std::errc::connection_reset)) {
            worker.channel_open = false;  // its exit is reported by the pidfd
        } else {
            kill_for_garbage(worker, received.error().text());
        }
    }
}

void Master::on_message(WorkerProcess& worker, const channel::Message& message) {
    const WorkerId id = worker.id;
    if (const auto* failed = std::get_if<channel::Failed>(&message)) {
        log::error("worker slot {} (pid {}) of generation {}: {}", id.slot, worker.process.pid,
                   id.generation, failed->text);
        note_of_worker(id, failed->text);
        return;
    }
    if (said<channel::Ready>(id, message) != nullptr) return raise(event::WorkerReady{id});
    if (const auto* draining = said<channel::Draining>(id, message)) {
        log::debug("worker slot {} of generation {} drains {} connections", id.slot, id.generation,
                   draining->connections);
        return;
    }
    if (const auto* shortcoming = said<channel::Shortcoming>(id, message)) {
        const bool news = generations_.at(id.generation).shortcomings.note(shortcoming->text);
        if (news && id.generation <= served_generation_) log::warning("{}", shortcoming->text);
        return;
    }
    kill_for_garbage(worker, std::string{channel::kind(message).name} + " is not for the master");
}

void Master::kill_for_garbage(WorkerProcess& worker, const std::string& what) {
    log::error("worker slot {} (pid {}) of generation {} is killed: {}", worker.id.slot,
               worker.process.pid, worker.id.generation, what);
    worker.channel_open = false;
    (void)process::send_signal(worker.process.pidfd, SIGKILL);
}

void Master::handle_exit(WorkerId id) {
    WorkerProcess& worker = *roster_.find(id);
    const auto status = process::reap(worker.process.pidfd);
    if (status && !*status) return;
    const std::string how = status ? (*status)->text() : status.error().text();
    const bool expected = worker.told_to_end && status && (*status)->succeeded();
    const auto level = expected ? log::Level::info : log::Level::warning;
    log::write_at(level, "worker slot {} (pid {}) of generation {} {}", id.slot, worker.process.pid,
                  id.generation, how);
    note_of_worker(id, how);
    pools_.bury(worker.row,
                {.slot = id.slot, .generation = id.generation, .process = worker.identity});
    roster_.remove(id);
    raise(event::WorkerExited{id});
}

void Master::process_events() {
    while (!events_.empty()) {
        const Event event = std::move(events_.front());
        events_.pop_front();
        const Actions actions = policy_.step(event, now());
        if (policy_.stopping()) begin_to_stop();
        for (const Action& action : actions)
            std::visit([this](const auto& one) { carry_out(one); }, action);
    }
}

/// Says, once, that no reload will begin any more, and to who asks that others are to be preferred.
void Master::announce_stop() {
    if (std::exchange(announced_, true)) return;
    refuse_reloads();
    if (rehearsal_) rehearsal_->abort("the master is stopping");
    if (policy_.superseded()) return;
    manager_.stopping(policy_.stopping() ? "drains or stops" : "is about to drain");
}

/// Stops the kernel from taking connections that nobody will accept.
void Master::begin_to_stop() {
    if (std::exchange(stopping_, true)) return;
    announce_stop();
    policy_.superseded() ? retire() : leave_files();
    for (auto& [number, generation] : generations_) generation.cycle->close_listeners();
}

}  // namespace ringfort::master
