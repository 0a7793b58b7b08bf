// The upgrade to another binary: the master that starts it, and leaves it all when it serves.
module;
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ringfort/try.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <compare>
#include <csignal>
#include <cstdint>
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
    // A service manager supervises its own children: with KillMode=mixed systemd kills a main
    // process that is none at once, instead of waiting for its end.
    RF_LET(auto child, process::spawn({.name = application_.name + ": successor",
                                       .keep = keep,
                                       .sibling = manager_.present()},
                                      become));
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
    const auto status = process::reap(successor_->process);
    if (status && !*status) {
        if (std::exchange(successor_->ready, false)) raise(event::SuccessorReady{});
        return tell_main_process();
    }
    const std::string how = fmt::format("the new master (process {}) {}", successor_->process.pid,
                                        status ? (*status)->text() : status.error().text());
    log::warning("upgrade: {}", how);
    if (!successor_->gives_up) note_finding(how);
    successor_.reset();
    pools_.watch(own_processes(), true);  // its workers end after it
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
    note_finding(policy_.closing() ? "the master is stopping"
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
    if (!policy_.closing())
        manager_.ready(fmt::format("generation {} serves on; the last upgrade failed: {}",
                                   served_generation_, findings_.front()));
}

void Master::carry_out(const action::RefuseUpgrade&) {
    const std::string why =
        policy_.closing() ? "the master is stopping" : "a reload or another upgrade is under way";
    log::warning("upgrade refused: {}", why);
    answer(upgrade_askers_, false, why);
}

/// Has every generation's listeners do something about their files.
void Master::for_each_listener(void (cycle::Listener::*act)() noexcept) {
    for (auto& [number, generation] : generations_)
        for (const cycle::Binding& binding : generation.cycle->bindings())
            for (const auto& listener : binding.listeners) (*listener.*act)();
}

/// Leaves all files to the successor, which serves; this master serves on until that has them.
void Master::carry_out(const action::HandOver&) {
    handed_over_ = true;
    for_each_listener(&cycle::Listener::disown);
    door_ = control_.door();
    if (door_) door_->disown();
    control_.listen(nullptr);
    if (pid_file_) pid_file_->disown();
    if (successor_) (void)successor_->channel.send(channel::Done{.success = true});
}

/// Takes back what the successor has died over.
void Master::take_back() {
    for_each_listener(&cycle::Listener::own);
    if (door_) door_->own();
    control_.listen(std::exchange(door_, nullptr));
    if (!pid_file_) return;
    const auto taken_back = pid_file_->take_back();
    if (taken_back) return;
    log::error("{}", pid_file_obstacle(pid_file_->path(), taken_back.error()));
    pid_file_.reset();  // the next reload or upgrade makes one
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
