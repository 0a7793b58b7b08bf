/// The services of the tests. Include it after the imports.
#pragma once
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace testing {

using Served = ringfort::coro::Task<ringfort::Result<void>>;

/// Sends back what it gets, until the peer has had enough.
struct Echo {
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context&) {
        for (;;) {
            auto chunk = co_await peer.receive();
            if (!chunk) co_return chunk.error();
            if (chunk->empty()) co_return {};
            auto sent = co_await peer.send_all(*chunk);
            if (!sent) co_return sent.error();
        }
    }
};

/// Throws when the first byte comes.
struct Thrower {
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context&) {
        const auto chunk = co_await peer.receive();
        if (chunk && chunk->bytes().size() == 1) throw 42;
        throw std::runtime_error{"thrown by a test"};
    }
};

/// Keeps the worker busy for longer than a stall takes, when the first byte comes.
struct Blocker {
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context&) {
        const auto chunk = co_await peer.receive();
        if (!chunk) co_return chunk.error();
        const auto end = ringfort::now() + 2 * ringfort::limits::stall_ms;
        while (ringfort::now() < end) {
        }
        co_return co_await peer.send_all("done");
    }
};

/// Keeps the worker busy for that long before it first waits for anything.
struct BlockerAtOnce {
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context&) {
        const auto end = ringfort::now() + 2 * ringfort::limits::stall_ms;
        while (ringfort::now() < end) {
        }
        co_return co_await peer.send_all("done");
    }
};

/// Says goodbye when the worker drains.
struct Polite {
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context& context) {
        auto greeted = co_await peer.send_all("hello");
        if (!greeted) co_return greeted.error();
        auto waited = co_await context.draining().wait();
        if (!waited) co_return waited.error();
        co_return co_await peer.send_all("goodbye");
    }
};

/// Tells what it knows of its worker.
struct Informer {
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context& context) {
        const auto* zone = context.zone("limits");
        const std::string text =
            "slot " + std::to_string(context.slot()) + " generation " +
            std::to_string(context.generation()) + " zone " +
            (zone == nullptr ? "none" : std::to_string(std::to_integer<int>(zone->payload()[0]))) +
            (context.zone("unknown") == nullptr ? "" : " and one that nobody gave");
        co_return co_await peer.send_all(text);
    }
};

template <class S>
ringfort::worker::ServiceFactory make() {
    return [] { return std::make_unique<ringfort::worker::ServiceOf<S>>(S{}); };
}

inline ringfort::worker::Options options() {
    ringfort::worker::Options made;
    made.services.emplace("echo", make<Echo>());
    made.services.emplace("blocker", make<Blocker>());
    made.services.emplace("blocker at once", make<BlockerAtOnce>());
    made.services.emplace("thrower", make<Thrower>());
    made.services.emplace("polite", make<Polite>());
    made.services.emplace("informer", make<Informer>());
    return made;
}

}  // namespace testing
