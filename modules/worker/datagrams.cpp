module;
#include <poll.h>
#include <sys/socket.h>

#include <ringfort/try.h>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
module ringfort.worker;

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;
import :state;

// Listeners of UDP: from a datagram to the service, and what is still answered by a worker that
// stops.
namespace ringfort::worker {
namespace {

bool is_for_datagrams(const Fd& socket) noexcept {
    int type = 0;
    socklen_t size = sizeof type;
    return ::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
}

bool has_waiting(const Fd& socket) noexcept {
    pollfd polled{.fd = socket.get(), .events = POLLIN, .revents = 0};
    return ::poll(&polled, 1, 0) > 0 && (polled.revents & POLLIN) != 0;
}

/// What an earlier answer has come to: each is told once, by the next receive.
bool is_of_a_peer(const Error& error) {
    using enum std::errc;
    for (const std::errc why : {connection_refused, connection_reset, host_unreachable,
                                network_unreachable, network_down, message_size, protocol_error})
        if (error.is(why)) return true;
    return false;
}

}  // namespace

/// Opens the way of a socket of UDP, by a copy: the socket itself is kept to be passed on.
Result<void> Worker::open_mailbox(Listener& listener) {
    if (!is_for_datagrams(listener.socket)) return {};
    RF_LET(Fd copy, listener.socket.duplicate());
    RF_LET(auto socket, net::Datagram::adopt(loop_, std::move(copy)));
    listener.mailbox = std::make_shared<Mailbox>(std::move(socket));
    return {};
}

coro::Task<void> Worker::receive_from(const Listener& listener) {
    Mailbox& mailbox = *listener.mailbox;
    bool troubled = false;
    for (;;) {
        while (mailbox.in_service >= limits::datagrams_in_service) {
            room_.reset();
            if (!co_await room_.wait()) co_return;
        }
        auto packet = co_await mailbox.socket.receive();
        if (packet) {
            troubled = false;
            take(listener, *std::move(packet));
            continue;
        }
        if (packet.error().is(std::errc::operation_canceled)) co_return;
        if (is_of_a_peer(packet.error())) continue;
        if (!std::exchange(troubled, true))
            log::warning("{}/udp: {}: no datagram is received; retrying every {} ms",
                         listener.address.text(), packet.error().text(),
                         options_.accept_backoff.count());
        if (!co_await loop_.sleep(options_.accept_backoff)) co_return;
    }
}

/// Receives what waits in a queue that perhaps nobody else may read. Bounded: under load it is
/// never empty, and whoever else has the socket receives, too.
coro::Task<void> Worker::receive_waiting(const Listener& listener) {
    // Another may have been quicker. Or this process was not run for so long: then they wait still.
    constexpr Milliseconds moment{1};
    std::uint32_t missed = 0;
    for (std::uint32_t taken = 0; taken < limits::last_datagrams && !terminating_;) {
        if (missed == limits::last_datagrams || !has_waiting(listener.socket)) co_return;
        auto packet = co_await listener.mailbox->socket.receive(moment);
        if (packet) {
            take(listener, *std::move(packet));
            ++taken;
        } else if (packet.error().is(std::errc::timed_out) || is_of_a_peer(packet.error())) {
            ++missed;
        } else {
            co_return;
        }
    }
}

/// Takes what was received already, and has the kernel receive no more: the rest is for others.
coro::Task<void> Worker::receive_last(const Listener& listener) {
    for (;;) {
        auto packet = co_await listener.mailbox->socket.last();
        if (packet && !*packet) co_return;
        if (packet && !terminating_) take(listener, **std::move(packet));
    }
}

/// While a socket is closed more is received than there may be tasks: the rest waits for them.
void Worker::take(const Listener& listener, net::Packet packet) {
    Running& running = services_.at(listener.service);
    if (listener.mailbox->in_service < limits::datagrams_in_service)
        return begin_answer(running, listener.mailbox, std::move(packet));
    listener.mailbox->last.push_back(std::move(packet));
    ++last_datagrams_;
}

void Worker::begin_answer(Running& running, std::shared_ptr<Mailbox> mailbox, net::Packet packet) {
    ++mailbox->in_service;
    datagrams_->spawn(answer(running, std::move(mailbox), std::move(packet)), &running.label);
}

coro::Task<void> Worker::answer(Running& running, std::shared_ptr<Mailbox> mailbox,
                                net::Packet packet) {
    count(Counter::datagrams);
    try {
        std::shared_ptr<net::Datagram> socket{mailbox, &mailbox->socket};
        const auto outcome = co_await running.service->on_datagram(
            net::Delivery{std::move(socket), std::move(packet)}, context_);
        if (!outcome) {
            count(Counter::failed);
            log::debug("a datagram: {}", outcome.error().text());
        }
    } catch (...) {
        count(Counter::failed);
        log::error("a service threw at a datagram{}", thrown());
    }
    --mailbox->in_service;
    room_.set();
    answer_next(running, std::move(mailbox));
}

void Worker::answer_next(Running& running, std::shared_ptr<Mailbox> mailbox) {
    if (mailbox->last.empty() || datagrams_->cancel_source().requested()) return;
    net::Packet packet = std::move(mailbox->last.front());
    mailbox->last.pop_front();
    --last_datagrams_;
    begin_answer(running, std::move(mailbox), std::move(packet));
}

}  // namespace ringfort::worker
