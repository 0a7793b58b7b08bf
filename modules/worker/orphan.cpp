// A worker whose master has died: it serves on for a while, so that the next master can begin with
// what it has.
module;
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

#include <ringfort/try.h>
module ringfort.worker;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.shm;
import ringfort.uring;
import :state;

namespace ringfort::worker {
namespace {

constexpr std::string_view adoption = "adopt\n";
constexpr std::string_view granted = "ok\n";
constexpr std::string_view refused =
    "the master has died: its workers serve on for a while, and take no order\nfailed\n";

}  // namespace

void Worker::on(const channel::OfferListener& message, channel::Fds fds) {
    if (message.use != channel::ListenerUse::control)
        return fail(Error{"take a control socket", std::errc::protocol_error},
                    std::string{channel::OfferListener::kind.name});
    door_ = std::move(fds[0]);
}

/// Begins to end: at once when nobody could find this worker, otherwise after the time of grace.
void Worker::lose_master() {
    if (!door_ || options_.orphan_grace == Milliseconds{0} || !started_ || stop_.is_set()) {
        log::warning("the master has gone: draining");
        return stop(drain_timeout_);
    }
    log::warning("the master has gone: serving on for {} ms, for another to take over",
                 options_.orphan_grace.count());
    acceptors_->spawn(end_grace());
    acceptors_->spawn(wait_for_successor());
}

coro::Task<void> Worker::end_grace() {
    if (!co_await loop_.sleep(options_.orphan_grace)) co_return;
    log::warning("no master has taken over: draining");
    stop(drain_timeout_);
}

/// Tells whether a sibling has learnt that another master serves.
bool Worker::is_succeeded() const {
    for (std::uint32_t row = 0; row < counters_->slots(); ++row)
        if (counters_->get(row, Counter::succeeded) == context_.generation()) return true;
    return false;
}

/// Waits at the control socket of the master that has died, in turn with the other orphans.
coro::Task<void> Worker::wait_for_successor() {
    for (;;) {
        const auto polled = co_await loop_.poll(door_.get(), POLLIN, limits::succession_check_ms);
        if (!polled && !polled.error().is(std::errc::timed_out)) co_return;
        if (is_succeeded()) {  // who comes now, comes to that one
            log::info("a successor serves: draining");
            co_return stop(drain_timeout_);
        }
        if (!polled) continue;
        if (callers_ == limits::control_clients) {
            if (!co_await loop_.sleep(limits::succession_check_ms)) co_return;
            continue;
        }
        Fd client{::accept4(door_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (client)
            acceptors_->spawn(answer_client(std::move(client)));
        else if (errno != EAGAIN && !co_await loop_.sleep(options_.accept_backoff))
            co_return;
    }
}

/// Passes all it has on to a successor; tells anybody else that there is no master.
coro::Task<void> Worker::answer_client(Fd client) {
    ++callers_;
    const auto polled = co_await loop_.poll(client.get(), POLLIN, limits::control_timeout_ms);
    --callers_;
    if (!polled) co_return;
    std::array<char, limits::max_control_line_bytes> line{};
    const ssize_t size = ::recv(client.get(), line.data(), line.size(), 0);
    if (size <= 0) co_return;
    if (adopted_ || std::string_view{line.data(), static_cast<std::size_t>(size)} != adoption) {
        (void)::send(client.get(), refused.data(), refused.size(), MSG_NOSIGNAL);
        co_return;
    }
    auto ends = channel::Channel::pair();
    if (!ends) co_return log::error("no channel to a successor: {}", ends.error().text());
    auto& [mine, theirs] = *ends;
    const Fd end = std::move(theirs).release();
    auto passed = channel::pass(client, granted, end);
    if (passed) passed = offer_estate(mine);
    if (!passed)
        co_return log::error("nothing is passed to a successor: {}", passed.error().text());
    log::info("a successor of the master takes over");
    adopted_ = true;
    co_await obey_successor(std::move(mine));
    adopted_ = false;
}

Result<void> Worker::offer_estate(channel::Channel& successor) {
    // The rows of its siblings are not known here, only at which end of the table they are.
    RF_TRY(
        successor.send(channel::Succession{.generation = context_.generation(),
                                           .rows_from_top = row_ < limits::max_counter_rows / 2}));
    RF_TRY(successor.send(channel::TakenRow{row_}));
    for (const auto& [id, listener] : listeners_) {
        RF_LET(Fd socket, listener.socket.duplicate());
        RF_TRY(successor.send(channel::OfferListener{.use = channel::ListenerUse::service,
                                                     .configured = listener.address},
                              std::move(socket)));
    }
    for (const auto& [name, zone] : context_.zones_) {
        RF_LET(Fd memfd, duplicate(zone.fd()));
        RF_TRY(successor.send(
            channel::AddZone{.name = zone.name(), .tag = zone.tag(), .size = zone.size()},
            std::move(memfd)));
    }
    RF_LET(const Address at, Address::of_socket(door_.get()));
    RF_LET(Fd door, door_.duplicate());
    RF_TRY(successor.send(
        channel::OfferListener{.use = channel::ListenerUse::control, .configured = at},
        std::move(door)));
    return successor.send(channel::Done{.success = true});
}

/// Sends what is queued, and drains when the successor serves.
coro::Task<void> Worker::obey_successor(channel::Channel successor) {
    for (;;) {
        const auto polled = co_await wait_for(loop_, successor);
        if (!polled && !polled.error().is(std::errc::timed_out)) co_return;
        (void)successor.flush();
        const auto received = successor.receive();
        if (!received) co_return;  // it has gone, or makes no sense: the grace goes on
        if (!*received) continue;
        const auto* drain = std::get_if<channel::Drain>(&(*received)->message);
        if (drain == nullptr) co_return;
        log::info("a successor serves: draining");
        counters_->set(row_, Counter::succeeded, context_.generation());
        co_return stop(drain->timeout);
    }
}

}  // namespace ringfort::worker
