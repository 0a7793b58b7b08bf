module;
#include <poll.h>

#include <ringfort/try.h>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
module ringfort.worker;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.shm;
import ringfort.uring;
import :state;

namespace ringfort::worker {

uring::NumberOperation wait_for(uring::Loop& loop, const channel::Channel& channel) {
    std::optional<Milliseconds> retry;
    if (channel.wants_retry()) retry = limits::channel_retry_ms;
    return loop.poll(channel.fd(), POLLIN | (channel.wants_write() ? POLLOUT : 0U), retry);
}

coro::Task<void> Worker::obey() {
    for (;;) {
        const auto polled = co_await wait_for(loop_, master_);
        if (!polled && polled.error().is(std::errc::operation_canceled)) co_return;
        if (!polled && !polled.error().is(std::errc::timed_out))
            co_return fail(polled.error(), "wait for a command");
        if (master_.queued() > 0) (void)master_.flush();
        for (;;) {
            auto received = master_.receive();
            if (!received) {
                if (started_ && received.error().is(std::errc::too_many_files_open)) {
                    // What carries a descriptor after the start can be done without.
                    log::error("a command of the master was lost: {}", received.error().text());
                    continue;
                }
                if (received.error().is(std::errc::connection_reset)) {
                    lose_master();
                } else {
                    fail(received.error(), "receive a command");
                }
                co_return;
            }
            if (!*received) break;
            std::visit([&](const auto& message) { on(message, std::move((*received)->fds)); },
                       (*received)->message);
            if (exit_code_ != 0) co_return;  // failed: what follows, as a start, is not obeyed
        }
    }
}

void Worker::on(const channel::AddListener& message, channel::Fds fds) {
    if (!options_.services.contains(message.service))
        return fail(Error{"add a listener", std::errc::invalid_argument},
                    "no service is called " + message.service);
    if (const auto made = make_service(message.service); !made)
        return fail(made.error(), "service " + message.service);
    const auto [place, added] = listeners_.try_emplace(message.id, message, std::move(fds[0]));
    if (!added)
        return fail(Error{"add a listener", std::errc::file_exists}, message.address.text());
    if (const auto opened = open_mailbox(place->second); !opened) {
        if (!started_) return fail(opened.error(), message.address.text());
        log::error("{}: {}", message.address.text(), opened.error().text());
        listeners_.erase(place);
        return;
    }
    if (started_) begin_accepting(place->second);
}

void Worker::on(const channel::RemoveListener& message, channel::Fds) {
    if (stop_.is_set()) return;  // all of them are on their way out
    auto listener = listeners_.extract(message.id);
    // Its addition may have been lost, to a full table of descriptors.
    if (listener.empty()) return log::debug("no listener {} to remove", message.id);
    acceptors_->spawn(retire(std::move(listener)));
}

void Worker::on(const channel::AddZone& message, channel::Fds fds) {
    if (started_ || context_.zones_.contains(message.name))  // views into the old one are in use
        return fail(Error{"add a zone", std::errc::file_exists}, "zone " + message.name);
    auto zone = shm::Zone::attach(std::move(fds[0]), message.name, message.tag);
    if (!zone && shm::Zone::is_of_content(zone.error())) {
        if (message.name == counters_zone)  // no worker is one without it
            return fail(zone.error(), "zone " + message.name + " (a reload makes it anew)");
        log::error("zone {} cannot be used: {}", message.name, zone.error().text());
        context_.pools_.emplace(message.name, Error{"attach a zone", std::errc::bad_message});
        return;
    }
    if (!zone) return fail(zone.error(), "zone " + message.name);
    if (zone->size() != message.size)
        return fail(Error{"add a zone", std::errc::invalid_argument}, "zone " + message.name);
    context_.zones_.insert_or_assign(message.name, *std::move(zone));
}

void Worker::on(const channel::Start& message, channel::Fds) {
    const auto started = start(message);
    if (!started) return fail(started.error(), "start");
    for (auto& [id, listener] : listeners_) begin_accepting(listener);
    log::info("ready");
    send(channel::Ready{context_.slot(), context_.generation()});
}

void Worker::on(const channel::ReopenLogs&, channel::Fds fds) {
    log::write_to(fds.empty() ? Fd{} : std::move(fds[0]));
}

void Worker::on(const channel::SetLogLevel& message, channel::Fds) {
    log::configure({.level = message.level, .format = log::options().format});
}

void Worker::on(const channel::OpenPeer& message, channel::Fds fds) {
    const PeerId peer{message.generation, message.slot};
    peers_.open({context_.generation(), context_.slot()}, peer, std::move(fds[0]));
    // A task that still looks at the channel before goes on with this one.
    if (watched_.insert(peer).second) commands_->spawn(watch_peer(peer));
}

void Worker::on(const channel::ClosePeer& message, channel::Fds) {
    peers_.close({message.generation, message.slot});
}

template <class Other>
void Worker::on(const Other&, channel::Fds) {
    fail(Error{"receive a command", std::errc::protocol_error}, std::string{Other::kind.name});
}

/// Makes the service if it is the first listener's that needs it.
Result<void> Worker::make_service(const std::string& name) try {
    const auto [place, added] = services_.try_emplace(name);
    Running& running = place->second;
    running.label.name = place->first;
    if (running.service) return {};
    running.service = options_.services.at(name)();
    if (!started_) return {};  // later, when there are pools
    RF_TRY(prepare(running));
    upkeep_->spawn(work(running), &running.label);
    return {};
} catch (...) {
    log::error("service {} cannot be made{}", name, thrown());
    return Error{"make the service", std::errc::invalid_argument};
}

Result<void> Worker::prepare(Running& running) try {
    const auto prepared = running.service->start(context_);
    if (!prepared) log::error("service {}: {}", running.label.name, prepared.error().text());
    return prepared;
} catch (...) {
    log::error("service {} threw at its start{}", running.label.name, thrown());
    return Error{"start the service", std::errc::invalid_argument};
}

Result<void> Worker::start(const channel::Start& message) {
    if (started_) return Error{"start", std::errc::already_connected};
    context_.slot_ = message.slot;
    context_.generation_ = message.generation;
    drain_timeout_ = message.drain_timeout;
    row_ = message.row;
    for (std::string& text : shortcomings_)
        send(channel::Shortcoming{context_.slot(), context_.generation(), std::move(text)});
    const auto zone = context_.zones_.find(counters_zone);
    if (zone == context_.zones_.end())
        return Error{"find the counters", std::errc::no_such_file_or_directory};
    RF_LET(counters_, Counters::attach(zone->second));
    if (row_ >= counters_->slots())
        return Error{"find the counters", std::errc::argument_out_of_domain};
    counters_->set(row_, Counter::active, 0);  // what a killed predecessor left there
    // A zone may outlive all masters, who then count generations anew: this one has no successor.
    for (std::uint32_t row = 0; row < counters_->slots(); ++row)
        if (counters_->get(row, Counter::succeeded) == message.generation)
            counters_->set(row, Counter::succeeded, 0);
    open_pools();
    for (auto& [name, running] : services_) RF_TRY(prepare(running));
    for (auto& [name, running] : services_) upkeep_->spawn(work(running), &running.label);
    if (options_.pulse > Milliseconds{0}) commands_->spawn(beat());
    commands_->spawn(flush_peers());
    started_ = true;
    return {};
}

/// Attaches to the pools as who the master has admitted to this row.
void Worker::open_pools() {
    for (auto& [name, zone] : context_.zones_) {
        if (name == counters_zone) continue;
        auto pool = shm::Pool::attach(zone, row_);
        if (pool) {
            // Not admitted, it is not to act as whoever is.
            const shm::OwnerName owner = pool->owners().name(row_);
            if (owner.slot != context_.slot() || owner.generation != context_.generation())
                pool = Error{"attach a pool: its owner", std::errc::owner_dead};
        }
        if (!pool) log::error("zone {} cannot be used: {}", name, pool.error().text());
        context_.pools_.emplace(name, std::move(pool));
    }
}

void Worker::fail(const Error& error, const std::string& what) {
    // Before the start it is the master who reports it.
    if (started_)
        log::error("{}: {}", what, error.text());
    else
        send(channel::Failed{context_.slot(), context_.generation(), error.code().value(),
                             what + ": " + error.text()});
    exit_code_ = 1;
    terminate();
}

void Worker::send(const channel::Message& message) {
    const auto sent = master_.send(message);
    if (!sent) log::debug("{} to the master: {}", channel::kind(message).name, sent.error().text());
}

}  // namespace ringfort::worker
