module;
#include <poll.h>
#include <sys/signalfd.h>

#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>
module ringfort.worker;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.uring;
import :state;

namespace ringfort::worker {

coro::Task<int> Worker::run() {
    const coro::Context context = co_await coro::current_context();
    commands_.emplace(context);
    upkeep_.emplace(context);
    acceptors_.emplace(context);
    connections_.emplace(context);
    datagrams_.emplace(context);
    commands_->spawn(obey());
    if (options_.signals >= 0) commands_->spawn(watch_signals());
    if (options_.companion != nullptr) commands_->spawn(options_.companion->attend(loop_));

    (void)co_await stop_.wait();
    upkeep_->cancel();
    acceptors_->cancel();
    co_await acceptors_->join();
    for (auto& [id, listener] : listeners_)
        if (listener.accepting) co_await listener.accepting->join();
    door_.close();  // who drains takes nobody over any more
    if (started_ && !terminating_) co_await accept_last();
    listeners_.clear();
    if (started_) {
        const auto open = static_cast<std::uint32_t>(connections_->size());
        if (!terminating_) log::info("draining {}", what_is_served());
        send(channel::Draining{context_.slot(), context_.generation(), open});
    }
    context_.draining().set();
    if (terminating_)
        cut();
    else
        commands_->spawn(limit_drain(drain_timeout_));
    co_await connections_->join();
    co_await datagrams_->join();
    co_await upkeep_->join();
    commands_->cancel();
    co_await commands_->join();
    upkeep_.reset();
    datagrams_.reset();
    connections_.reset();  // scopes end before the one they were made under
    acceptors_.reset();
    commands_.reset();
    co_return exit_code_;
}

coro::Task<void> Worker::watch_signals() {
    signalfd_siginfo info{};
    for (;;) {
        // Polled first: the descriptor is non-blocking, and a ring would answer EAGAIN.
        if (!co_await loop_.poll(options_.signals, POLLIN)) co_return;
        const auto size =
            co_await loop_.read(options_.signals, std::as_writable_bytes(std::span{&info, 1}));
        if (!size || *size != sizeof info) continue;
        log::info("signal {} from process {}: draining", info.ssi_signo, info.ssi_pid);
        stop(drain_timeout_);
    }
}

/// Passes on what a peer says, one message after the other: what the service has not yet dealt with
/// waits in the socket, and then at the peer.
coro::Task<void> Worker::watch_peer(PeerId peer) {
    for (bool open = true; open;) {
        const auto channel = peers_.channel(peer);
        if (!channel || !co_await loop_.poll(channel->fd(), POLLIN)) break;
        for (std::uint32_t i = 0; i < limits::peer_messages_per_turn; ++i) {
            auto message = peers_.receive(peer);
            open = message || peers_.channel(peer);
            if (!message || !*message) break;
            co_await deliver(**std::move(message));
        }
    }
    watched_.erase(peer);
}

coro::Task<void> Worker::deliver(PeerMessage message) {
    const std::string name = message.service;
    const auto found = services_.find(name);
    if (found == services_.end())
        co_return log::debug("a message for the service {}, which has no listener", name);
    try {
        const auto heard = co_await found->second.service->on_message(std::move(message), context_);
        if (!heard) log::debug("service {}: a message: {}", name, heard.error().text());
    } catch (...) {
        log::error("service {} threw at a message{}", name, thrown());
    }
}

coro::Task<void> Worker::work(Running& running) {
    const std::string_view name = running.label.name;
    try {
        const auto worked = co_await running.service->work(context_);
        if (!worked && !worked.error().is(std::errc::operation_canceled))
            log::warning("service {}: its work has ended: {}", name, worked.error().text());
    } catch (...) {
        log::error("service {} threw at its work{}", name, thrown());
    }
}

/// Sends on what a slow peer had no room for.
coro::Task<void> Worker::flush_peers() {
    while (co_await peers_.stalled().wait()) {
        peers_.stalled().reset();
        while (peers_.flush())
            if (!co_await loop_.sleep(limits::channel_retry_ms)) co_return;
    }
}

/// Notes again and again that timers are kept and tasks go on, which a loop that is stuck does not.
coro::Task<void> Worker::beat() {
    do counters_->set(row_, Counter::pulse, pulse_at(loop_.scheduler().time()));
    while (co_await loop_.sleep(options_.pulse));
}

coro::Task<void> Worker::limit_drain(Milliseconds timeout) {
    if (!co_await loop_.sleep(timeout)) co_return;
    log::warning("drain time of {} ms is over: {} are cut", timeout.count(), what_is_served());
    cut();
}

/// Cancels what is served.
void Worker::cut() {
    connections_->cancel();
    datagrams_->cancel();
}

void Worker::stop(Milliseconds drain_timeout) {
    if (stop_.is_set()) return;
    drain_timeout_ = drain_timeout;
    stop_.set();
}

void Worker::terminate() {
    const bool serves = connections_->size() + datagrams_->size() > 0;
    if (!std::exchange(terminating_, true) && serves)
        log::warning("told to end at once: {} are cut", what_is_served());
    stop_.set();
    cut();
}

std::string Worker::what_is_served() const {
    const std::size_t datagrams = datagrams_->size() + last_datagrams_;
    const std::string others = std::to_string(datagrams) + " datagrams";
    if (datagrams > 0 && connections_->size() == 0) return others;
    const std::string connections = std::to_string(connections_->size()) + " connections";
    return datagrams == 0 ? connections : connections + " and " + others;
}

namespace {

/// Tells the master why there will be no worker; returns the exit code.
int give_up(channel::Channel& master, const Error& error, const std::string& text) {
    const auto sent =
        master.send(channel::Failed{.error_number = error.code().value(), .text = text});
    if (!sent) log::error("{}", text);
    return 1;
}

}  // namespace

int run(channel::Channel to_master, Options options) {
    auto loop = uring::Loop::open(options.loop);
    if (!loop) {
        const auto facts = uring::gather_facts(options.loop.submissions, options.loop.completions,
                                               options.loop.max_receive_buffers);
        return give_up(to_master, loop.error(),
                       "no io_uring: " + uring::diagnose(loop.error(), facts).text);
    }
    // Asked now: the sandbox will hide the files that tell why.
    std::vector<std::string> shortcomings = (*loop)->shortcomings();
    if (options.ring_made)
        if (const auto made = options.ring_made((*loop)->backend()); !made)
            return give_up(to_master, made.error(), "drop privileges: " + made.error().text());
    Worker worker{**loop, std::move(to_master), options, std::move(shortcomings)};
    return (*loop)->run(worker.run());
}

}  // namespace ringfort::worker
