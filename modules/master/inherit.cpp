// The master that begins with what another one has: with what its predecessor gives it in an
// upgrade, or with what one that has died has left to its workers.
module;
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <ringfort/try.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <compare>
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

/// Waits until somebody who is to tell what there is says something, or has had its time. Whoever
/// starts a server is told whom it waits for, if that takes a while: a process that is stopped says
/// nothing.
class Patience {
public:
    explicit Patience(std::string whom) : whom_{std::move(whom)} {}

    /// Returns whether there is something to read.
    bool wait(RawFd fd) {
        if (poll(fd, quiet_until_)) return true;
        if (!std::exchange(told_, true))
            log::info("{} says nothing yet: it is waited for, for another {} ms", whom_,
                      left(due_));
        return poll(fd, due_);
    }

private:
    [[nodiscard]] static std::int64_t left(Instant end) {
        return std::max<std::int64_t>(0, std::chrono::ceil<Milliseconds>(end - now()).count());
    }
    [[nodiscard]] static bool poll(RawFd fd, Instant end) {
        pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
        while (left(end) > 0) {
            const int ready = ::poll(&polled, 1, static_cast<int>(left(end)));
            if (ready != 0 && !(ready < 0 && errno == EINTR)) return true;
        }
        return false;
    }

    std::string whom_;
    Instant quiet_until_ = now() + limits::inherit_timeout_ms / 5;
    Instant due_ = now() + limits::inherit_timeout_ms;
    bool told_ = false;
};

/// Returns who has made a socketpair; 0 if that is not to be known. Source: unix(7), SO_PEERCRED.
pid_t maker_of(RawFd socket) {
    ucred maker{};
    socklen_t size = sizeof maker;
    return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &maker, &size) == 0 ? maker.pid : 0;
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
    if (!Patience{"whoever is at " + control}.wait(socket.get())) {
        log::warning("whoever is at {} does not answer", control);
        return {};
    }
    auto passed = channel::receive_passed(socket);
    if (!passed)
        log::warning("whoever is at {} does not answer: {}", control, passed.error().text());
    if (!passed || !passed->fd) return {};
    return channel::Channel::adopt(std::move(passed->fd));
}

/// Waits for all of what the predecessor has.
Result<Estate> receive_estate(channel::Channel& predecessor, const std::string& whom) {
    EstateReader reader;
    Patience patience{whom};
    while (!reader.estate().complete) {
        RF_LET(auto received, predecessor.receive());
        if (received) {
            RF_TRY(reader.take(*std::move(received)));
            continue;
        }
        if (!patience.wait(predecessor.fd()))
            return Error{"wait for what the predecessor has", std::errc::timed_out};
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
    const std::string whom = orphaned_ ? "a worker without a master"
                                       : fmt::format("the master that started this one (pid {})",
                                                     maker_of(predecessor_->fd()));
    auto estate = receive_estate(*predecessor_, whom);
    if (!estate && (orphaned_ || estate.error().is(std::errc::connection_reset))) {
        log::warning("{} has not told all: {}", whom, estate.error().text());
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
        cycle::use_passed(std::exchange(passed_, {}), *serves->cycle);
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
    if (const cycle::Cycle* const cycle = current_cycle()) pools_.keep(cycle->zones(), true);
    pools_.watch(own_processes(), true);  // it, and its workers, if they have not gone with it
    // It went before it could say so: nobody else serves now, and the service manager will learn
    // nothing from it any more.
    if (served_ && inheritance_.complete) return take_over();
    const auto serves = generations_.find(served_generation_);
    if (serves != generations_.end()) keep_descriptors(*serves->second.cycle);
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

}  // namespace ringfort::master
