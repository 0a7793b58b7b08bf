module;
#include <poll.h>
#include <ringfort/try.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.process;

namespace ringfort::master {
namespace {

/// Sends, and waits until the kernel has it.
Result<void> send_now(channel::Channel& channel, const channel::Message& message,
                      channel::Fds fds) {
    RF_TRY(channel.send(message, std::move(fds)));
    while (channel.queued() > 0) {
        pollfd polled{.fd = channel.fd(), .events = POLLOUT, .revents = 0};
        const bool full = channel.wants_write();
        (void)::poll(&polled, full ? 1 : 0,
                     full ? -1 : static_cast<int>(limits::channel_retry_ms.count()));
        RF_TRY(channel.flush());
    }
    return {};
}

int work_and_say(channel::Channel channel, pid_t master, const Builder::Work& work) {
    log::identify({.role = "builder"});
    // Nobody would be left to end it, and it has listening sockets.
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != master) return 1;  // it has died before
    Result<void> sent;
    const Send send = [&](const channel::Message& message, channel::Fds fds) {
        if (sent) sent = send_now(channel, message, std::move(fds));
        return sent;
    };
    const bool success = work(send);
    (void)send(channel::Done{.success = success}, {});
    if (!sent) log::error("what was built cannot be passed on: {}", sent.error().text());
    return sent ? 0 : 1;
}

}  // namespace

Result<Builder> Builder::start(std::string_view title, std::uint64_t client, Instant due,
                               std::vector<RawFd> keep, const Work& work) {
    RF_LET(auto ends, channel::Channel::pair());
    auto& [mine, theirs] = ends;
    keep.push_back(theirs.fd());
    RF_LET(auto child,
           process::spawn({.name = title, .keep = keep, .blocked = {}}, [&, master = ::getpid()] {
               return work_and_say(std::move(theirs), master, work);
           }));
    return Builder{std::move(child), std::move(mine), client, due};
}

Builder::Builder(Builder&& other) noexcept
    : child_{std::exchange(other.child_, {})},
      channel_{std::move(other.channel_)},
      client_{other.client_},
      due_{other.due_},
      reader_{std::move(other.reader_)},
      open_{std::exchange(other.open_, false)},
      failure_{std::move(other.failure_)} {}

Builder::~Builder() {
    if (!child_.pidfd) return;
    (void)process::send_signal(child_.pidfd, SIGKILL);
    pollfd ended{.fd = child_.pidfd.get(), .events = POLLIN, .revents = 0};
    (void)::poll(&ended, 1, static_cast<int>(limits::kill_timeout_ms.count()));
    if (auto estate = finish()) (void)estate->take_files();  // and removes them
}

bool Builder::receive() {
    for (std::uint32_t i = 0; i < limits::messages_per_turn && open_; ++i) {
        auto received = channel_.receive();
        if (received && !*received) return false;
        Result<void> taken;
        if (!received)
            taken = received.error();
        else
            taken = reader_.take(*std::move(*received));
        if (taken) continue;
        open_ = false;  // at its end, or at what makes no sense
        if (!taken.error().is(std::errc::connection_reset)) abort(taken.error().text());
    }
    return open_;
}

void Builder::abort(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
    (void)process::send_signal(child_.pidfd, SIGKILL);
}

std::optional<Estate> Builder::finish() {
    const auto status = process::reap(child_.pidfd);
    if (status && !*status) return {};
    child_.pidfd.close();
    while (receive()) continue;  // ends: nobody sends any more
    Estate estate = std::move(reader_).release();
    if (failure_.empty() && !estate.complete)
        failure_ = "the process that built the cycle " +
                   (status ? (*status)->text() : status.error().text());
    if (!failure_.empty()) {
        estate.success = false;
        estate.findings.push_back(failure_);
    }
    return estate;
}

}  // namespace ringfort::master
