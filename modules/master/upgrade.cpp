// The upgrade to another binary, from both sides: the master that starts it and gives all away when
// it serves, and the master that is started and begins with what it is given.
module;
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <ringfort/try.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <compare>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

namespace ringfort::master {
namespace {

/// Names the descriptor of the channel to the master that started this process.
constexpr const char* predecessor_variable = "RINGFORT_PREDECESSOR";

/// Finds the channel to the master that started this process, once; nothing when none did.
/// Errors: EINVAL for a value that is no such channel.
Result<std::optional<channel::Channel>> find_predecessor() {
    constexpr Step step{"find the predecessor by RINGFORT_PREDECESSOR"};
    const char* const value = std::getenv(predecessor_variable);
    if (value == nullptr) return std::nullopt;
    const std::string text = value;
    (void)::unsetenv(predecessor_variable);
    RawFd fd = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
    int type = 0;
    socklen_t size = sizeof type;
    if (error != std::errc{} || end != text.data() + text.size() || fd <= STDERR_FILENO ||
        ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET)
        return Error{step, EINVAL};
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return Error::last("fcntl(FD_CLOEXEC)");
    return std::optional{channel::Channel::adopt(Fd{fd})};
}

/// Finds a worker whose master has died, by the control socket of that; nothing when there is none,
/// or the master lives.
std::optional<channel::Channel> find_orphan(const std::string& control) {
    const auto address = Address::parse("unix:" + control);
    if (control.empty() || !address) return {};
    const Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    constexpr auto s = std::chrono::duration_cast<std::chrono::seconds>(limits::inherit_timeout_ms);
    const timeval patience{.tv_sec = s.count(), .tv_usec = 0};
    for (const int option : {SO_SNDTIMEO, SO_RCVTIMEO})
        (void)::setsockopt(socket.get(), SOL_SOCKET, option, &patience, sizeof patience);
    if (!socket || ::connect(socket.get(), address->data(), address->size()) != 0) return {};
    constexpr std::string_view order = "adopt\n";
    if (::send(socket.get(), order.data(), order.size(), MSG_NOSIGNAL) < 0) return {};
    auto passed = channel::receive_passed(socket);
    if (!passed)
        log::warning("whoever is at {} does not answer: {}", control, passed.error().text());
    if (!passed || !passed->fd) return {};
    return channel::Channel::adopt(std::move(passed->fd));
}

/// Waits for all of what the predecessor has.
Result<Estate> receive_estate(channel::Channel& predecessor) {
    EstateReader reader;
    const Instant due = now() + limits::inherit_timeout_ms;
    while (!reader.estate().complete) {
        RF_LET(auto received, predecessor.receive());
        if (received) {
            RF_TRY(reader.take(*std::move(received)));
            continue;
        }
        const auto left = std::chrono::ceil<Milliseconds>(due - now()).count();
        if (left <= 0) return Error{"wait for what the predecessor has", std::errc::timed_out};
        pollfd polled{.fd = predecessor.fd(), .events = POLLIN, .revents = 0};
        (void)::poll(&polled, 1, static_cast<int>(left));
    }
    return std::move(reader).release();
}

}  // namespace

bool has_predecessor() noexcept {
    return std::getenv(predecessor_variable) != nullptr;
}

void complain_to(channel::Channel& predecessor, const std::vector<std::string>& obstacles) {
    for (const std::string& obstacle : obstacles)
        (void)predecessor.send(channel::Failed{.text = obstacle});
}

void complain_to_predecessor(const config::Problems& problems) {
    auto predecessor = find_predecessor();
    if (predecessor && *predecessor) complain_to(**predecessor, lines_of(problems));
}

// ---- the new one ----

/// Takes what the master that started this process has, if one did, or what one that has died has
/// left to its workers.
Result<void> Master::inherit(const config::Settings& settings) {
    RF_LET(predecessor_, find_predecessor());
    RF_TRY(inherit_from_predecessor());
    if (predecessor_) return {};
    orphaned_ = true;
    predecessor_ = find_orphan(settings.master.control);
    return inherit_from_predecessor();
}

/// Takes what it has; one that dies over it was none.
Result<void> Master::inherit_from_predecessor() {
    if (!predecessor_) return {};
    auto estate = receive_estate(*predecessor_);
    if (!estate && (orphaned_ || estate.error().is(std::errc::connection_reset))) {
        log::warning("{} has not told all: {}",
                     orphaned_ ? "a worker without a master" : "the master that started this one",
                     estate.error().text());
        predecessor_.reset();
        return {};
    }
    if (!estate) return estate.error();
    inheritance_ = *std::move(estate);
    last_generation_ = inheritance_.last_generation;
    roster_.share_rows(inheritance_.taken_rows, inheritance_.rows_from_top);
    log::info(
        "{}: {} addresses, {} zones are taken over",
        orphaned_ ? "a master has died, its workers serve" : "started by a master to succeed it",
        inheritance_.stock.groups.size(), inheritance_.stock.zones.size());
    return {};
}

/// Has the generation that serves take the place of what was before it: at once, or when the
/// predecessor leaves it that. Until then that one may still go on, and all files are its own.
void Master::succeed() {
    if (!inheritance_.complete || !predecessor_ || orphaned_) return take_over();
    const auto told =
        predecessor_->send(channel::Ready{.slot = 0, .generation = served_generation_});
    if (!told) log::warning("the predecessor cannot be told: {}", told.error().text());
}

/// Makes what was inherited this process's own.
void Master::take_over() {
    const auto found = generations_.find(served_generation_);  // none once this master stops
    Generation* const serves = found == generations_.end() ? nullptr : &found->second;
    if (serves != nullptr) {
        place_files(*serves);
        use_passed(*serves->cycle);
        if (!predecessor_ || orphaned_) keep_descriptors(*serves->cycle);
    }
    if (!std::exchange(inheritance_.complete, false)) {
        inheritance_ = {};
        return;
    }
    if (const auto& held = inheritance_.pid_file;
        held && (!pid_file_ || pid_file_->path() != held->path))
        // Nobody else removes it: it is at a path that is no longer wanted.
        (void)process::PidFile::adopt(held->path, std::move(inheritance_.pid_file->file));
    // What the new configuration has no use for is removed with its last owner, who is here now.
    for (const cycle::Group& group : inheritance_.stock.groups)
        for (const auto& inherited : group.listeners) inherited->own();
    if (inheritance_.control) inheritance_.control->own();
    inheritance_ = {};
    for (const auto& worker : roster_.workers())
        if (serves != nullptr && worker->id.generation == served_generation_)
            show_door(*worker, *serves);
    raise(event::TakenOver{});
    if (!predecessor_) return;
    const Milliseconds timeout =
        serves ? serves->cycle->settings().master.drain_timeout : limits::drain_timeout_ms;
    const auto told = predecessor_->send(orphaned_ ? channel::Message{channel::Drain{timeout}}
                                                   : channel::Done{.success = true});
    if (!told) log::warning("the predecessor cannot be told: {}", told.error().text());
}

/// Tells the predecessor, which serves on, what keeps this process from succeeding it.
void Master::give_up() {
    if (served_ || !predecessor_) return;
    complain_to(*predecessor_, findings_);
    (void)predecessor_->send(channel::Done{.success = false});
    inheritance_ = {};  // its locks and listeners are the predecessor's alone again
}

void Master::serve_predecessor() {
    if (!predecessor_) return;
    (void)predecessor_->flush();
    for (std::uint32_t i = 0; i < limits::messages_per_turn; ++i) {
        const auto received = predecessor_->receive();
        if (received && !*received) return;
        if (!received) return lose_predecessor(received.error());
        on_predecessor_message((*received)->message);
    }
}

void Master::lose_predecessor(const Error& error) {
    const char* const who = orphaned_ ? "the worker taken over from" : "the master before this one";
    if (!error.is(std::errc::connection_reset)) {  // it lives, and nobody knows what it means to do
        log::error("{} speaks another language: {}", who, error.text());
        predecessor_.reset();
        return raise(event::Drain{});
    }
    log::info("{} has gone", who);
    predecessor_.reset();
    roster_.own_rows();
    // It went before it could say so: nobody else serves now.
    if (served_ && inheritance_.complete) take_over();
}

void Master::on_predecessor_message(const channel::Message& message) {
    if (std::holds_alternative<channel::ReopenLogs>(message)) return raise(event::Reopen{});
    if (std::holds_alternative<channel::Done>(message) && served_) {
        if (inheritance_.complete) return take_over();
        // Now the service manager knows this process as the main one, and listens to it.
        const auto serves = generations_.find(served_generation_);
        if (serves != generations_.end()) keep_descriptors(*serves->second.cycle);
        return;
    }
    log::warning("the master before this one sent {}, which is not for its successor",
                 channel::kind(message).name);
}

// ---- the old one ----

void Master::carry_out(const action::StartSuccessor&) {
    log::info("upgrade: starting {}", application_.program.path());
    manager_.reloading(now());
    findings_.clear();
    upgrade_watchers_ = std::exchange(upgrade_askers_, {});
    if (rehearsal_) rehearsal_->abort("an upgrade has begun meanwhile: ask again");
    const auto started = start_successor();
    if (started) return;
    if (successor_) {  // its end is reported as that of any
        note_finding(started.error().text());
        (void)process::send_signal(successor_->process.pidfd, SIGKILL);
        return;
    }
    note_finding("the new process cannot be started: " + started.error().text());
    raise(event::SuccessorExited{});
}

Result<void> Master::start_successor() {
    if (::getpid() == 1)  // its end would be the end of the container
        return Error{"upgrade as process 1", std::errc::operation_not_supported};
    RF_LET(auto ends, channel::Channel::pair());
    auto& [mine, theirs] = ends;
    const std::array keep{theirs.fd()};
    auto variables = manager_.environment();
    variables.push_back(fmt::format("{}={}", predecessor_variable, theirs.fd()));
    const auto become = [&] {
        (void)environment_.restore();  // its configuration may keep more of it
        Error error{"fcntl(FD_CLOEXEC)", 0};
        if (::fcntl(theirs.fd(), F_SETFD, 0) == 0) error = application_.program.execute(variables);
        complain_to(theirs, {application_.program.path() + ": " + error.text()});
        return process::exit_os_error;
    };
    RF_LET(auto child,
           process::spawn({.name = application_.name + ": successor", .keep = keep}, become));
    log::info("upgrade: the new master is process {}", child.pid);
    successor_.emplace(Successor{.process = std::move(child), .channel = std::move(mine)});
    return offer_estate();
}

/// Sends the successor all it needs to go on in this one's place.
Result<void> Master::offer_estate() {
    const Send send = through(successor_->channel);
    RF_TRY(send(channel::Succession{.generation = last_generation_,
                                    .rows_from_top = !roster_.rows_from_top()},
                {}));
    for (const std::uint32_t row : roster_.rows()) RF_TRY(send(channel::TakenRow{row}, {}));
    const cycle::Cycle& cycle = *current_cycle();
    for (const cycle::Binding& binding : cycle.bindings())
        for (const auto& listener : binding.listeners) RF_TRY(offer(*listener, false, send));
    for (const cycle::SharedZone& zone : cycle.zones()) RF_TRY(offer(*zone, send));
    if (pid_file_) RF_TRY(offer(*pid_file_, send));
    if (control_.door()) RF_TRY(offer(*control_.door(), true, send));
    return send(channel::Done{.success = true}, {});
}

void Master::serve_successor() {
    if (!successor_) return;
    (void)successor_->channel.flush();
    for (std::uint32_t i = 0; i < limits::messages_per_turn && successor_->channel_open; ++i) {
        const auto received = successor_->channel.receive();
        if (received && !*received) break;
        if (received) {
            on_successor_message((*received)->message);
            continue;
        }
        successor_->channel_open = false;
        if (received.error().is(std::errc::connection_reset)) continue;
        note_finding("the new process speaks another language: " + received.error().text());
        (void)process::send_signal(successor_->process.pidfd, SIGKILL);
    }
    const auto status = process::reap(successor_->process.pidfd);
    if (status && !*status) {
        if (std::exchange(successor_->ready, false)) raise(event::SuccessorReady{});
        return tell_main_process();
    }
    const std::string how = fmt::format("the new master (process {}) {}", successor_->process.pid,
                                        status ? (*status)->text() : status.error().text());
    log::warning("upgrade: {}", how);
    if (!successor_->gives_up) note_finding(how);
    successor_.reset();
    raise(event::SuccessorExited{});
}

void Master::on_successor_message(const channel::Message& message) {
    if (std::holds_alternative<channel::Ready>(message)) {
        successor_->ready = true;  // unless it has ended by now
    } else if (const auto* failed = std::get_if<channel::Failed>(&message)) {
        note_finding(failed->text);
    } else if (const auto* done = std::get_if<channel::Done>(&message)) {
        successor_->gives_up = !done->success;
        if (done->success)
            raise(event::SuccessorTookOver{});
        else
            raise(event::SuccessorGivesUp{});
    } else if (!policy_.superseded()) {
        note_finding(fmt::format("the new master sent {}, which is not for the old one",
                                 channel::kind(message).name));
        (void)process::send_signal(successor_->process.pidfd, SIGKILL);
    }
}

void Master::carry_out(const action::EndSuccessor&) {
    note_finding(policy_.stopping() ? "the master is stopping"
                                    : "the new master did not serve within "
                                      "master.upgrade_timeout_ms");
    if (successor_) (void)process::send_signal(successor_->process.pidfd, SIGTERM);
}

void Master::carry_out(const action::KillSuccessor&) {
    if (successor_) (void)process::send_signal(successor_->process.pidfd, SIGKILL);
}

void Master::carry_out(const action::FailUpgrade&) {
    if (std::exchange(handed_over_, false)) take_back();
    if (pid_file_) pid_file_->discard_successor();
    if (findings_.empty()) note_finding("the new master has given up without a reason");
    for (const std::string& finding : findings_) log::error("upgrade failed: {}", finding);
    answer(upgrade_watchers_, false, fmt::format("{}", fmt::join(findings_, "\n")));
    if (!policy_.stopping())
        manager_.ready(fmt::format("generation {} serves on; the last upgrade failed: {}",
                                   served_generation_, findings_.front()));
}

void Master::carry_out(const action::RefuseUpgrade&) {
    const std::string why =
        policy_.stopping() ? "the master is stopping" : "a reload or another upgrade is under way";
    log::warning("upgrade refused: {}", why);
    answer(upgrade_askers_, false, why);
}

/// Leaves all files to the successor, which serves; this master serves on until that has them.
void Master::carry_out(const action::HandOver&) {
    handed_over_ = true;
    for (auto& [number, generation] : generations_)
        for (const cycle::Binding& binding : generation.cycle->bindings())
            for (const auto& listener : binding.listeners) listener->disown();
    door_ = control_.door();
    if (door_) door_->disown();
    control_.listen(nullptr);
    if (pid_file_) pid_file_->disown();
    if (successor_) (void)successor_->channel.send(channel::Done{.success = true});
}

/// Takes back what the successor has died over.
void Master::take_back() {
    for (auto& [number, generation] : generations_)
        for (const cycle::Binding& binding : generation.cycle->bindings())
            for (const auto& listener : binding.listeners) listener->own();
    if (door_) door_->own();
    control_.listen(std::exchange(door_, nullptr));
    if (pid_file_) pid_file_->own();
}

/// Goes: the successor has taken over. What this master still has is its connections.
void Master::retire() {
    door_.reset();
    const pid_t pid = successor_ ? successor_->process.pid : 0;
    const std::string serves = fmt::format("process {} serves in place of {}", pid, ::getpid());
    log::info("upgrade: {}", serves);
    for (const auto& [name, files] : kept_) manager_.forget(name);  // it will have its own kept
    manager_.hand_over(pid, serves);
    answer(upgrade_watchers_, true, serves);
    process::Title::set(application_.name + ": master (succeeded)");
}

/// Tells the successor that the service manager knows it as the main process.
void Master::tell_main_process() {
    if (!policy_.superseded() || manager_.has_unsent() || std::exchange(told_main_process_, true))
        return;
    (void)successor_->channel.send(channel::Done{.success = true});
}

}  // namespace ringfort::master
