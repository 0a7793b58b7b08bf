module;
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <map>
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

namespace ringfort::worker {

void Worker::begin_accepting(Listener& listener) {
    if (stop_.is_set()) return;
    listener.accepting.emplace(coro::Context{
        .scheduler = &loop_.scheduler(), .cancel = &acceptors_->cancel_source(), .label = nullptr});
    listener.accepting->spawn(listener.mailbox ? receive_from(listener) : accept_from(listener));
}

/// Ends a listener that the master takes back. What it accepts at this very moment is served, and
/// the datagrams it has received.
coro::Task<void> Worker::retire(Listeners::node_type listener) {
    std::optional<coro::Scope>& accepting = listener.mapped().accepting;
    if (!accepting) co_return;
    accepting->cancel();
    co_await accepting->join();
    if (listener.mapped().mailbox) co_await receive_last(listener.mapped());
}

coro::Task<void> Worker::accept_from(const Listener& listener) {
    net::Acceptor acceptor{
        loop_, listener.socket.get(), {.backoff = options_.accept_backoff, .sweep = &sweep_}};
    for (;;) {
        while (connections_->size() >= options_.connections) {
            room_.reset();
            if (!co_await room_.wait()) co_return;
        }
        auto peer = co_await acceptor.accept();
        if (!peer) {
            // The master ends the sockets of workers that are no more, whoever has them.
            if (peer.error().is(std::errc::invalid_argument))
                log::debug("{}: the socket was ended", listener.address.text());
            else if (!peer.error().is(std::errc::operation_canceled))
                log::error("{}: {}", listener.address.text(), peer.error().text());
            co_return;
        }
        take(listener, *std::move(peer));
    }
}

/// Takes what has arrived before the listeners are closed: datagrams, and connections that wait in
/// a queue which nobody else may read, or for which the kernel woke only the accept that was
/// cancelled. Bounded: under a load that keeps the queue filled, other workers are woken all the
/// time.
coro::Task<void> Worker::accept_last() {
    for (const auto& [id, listener] : listeners_) {
        if (listener.mailbox) {
            co_await receive_waiting(listener);
            co_await receive_last(listener);
            continue;
        }
        net::Acceptor acceptor{loop_, listener.socket.get()};
        for (std::uint32_t i = 0; i < limits::last_accepts && !terminating_; ++i) {
            auto peer = co_await acceptor.accept_waiting();
            if (!peer) log::warning("{}: {}", listener.address.text(), peer.error().text());
            if (!peer || !*peer) break;
            take(listener, **std::move(peer));
        }
    }
}

/// Labels the task from its first resumption on, where a service may block as well as later.
void Worker::take(const Listener& listener, net::Stream peer) {
    Running& running = services_.at(listener.service);
    connections_->spawn(serve(*running.service, std::move(peer)), &running.label);
}

coro::Task<void> Worker::serve(Service& service, net::Stream peer) {
    count(Counter::accepted);
    counters_->add(row_, Counter::active);
    try {
        const auto outcome = co_await service.serve(std::move(peer), context_);
        if (!outcome) {
            count(Counter::failed);
            log::debug("connection ended: {}", outcome.error().text());
        }
    } catch (...) {
        count(Counter::failed);
        log::error("a service threw{}", thrown());
    }
    counters_->subtract(row_, Counter::active);
    room_.set();
}

void Worker::count(Counter counter, std::uint64_t amount) {
    counters_->add(row_, counter, amount);
}

}  // namespace ringfort::worker
