/// The services of the tests. Include it after the imports.
#pragma once
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
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
        const auto pool = context.pool("limits");
        const auto unknown = context.pool("unknown");
        const std::string text =
            "slot " + std::to_string(context.slot()) + " generation " +
            std::to_string(context.generation()) + " pool " +
            (pool ? "as owner " + std::to_string(pool->self().row) : pool.error().text()) + ", " +
            (unknown ? "and one that nobody gave" : unknown.error().text());
        co_return co_await peer.send_all(text);
    }
};

/// Works all the time, and tells how often it has.
struct Working {
    std::shared_ptr<int> rounds = std::make_shared<int>(0);

    Served work(ringfort::worker::Context& context) {
        for (;;) {
            ++*rounds;
            auto slept = co_await context.loop().sleep(ringfort::Milliseconds{1});
            if (!slept) co_return slept.error();
            if (*rounds == 1'000'000) co_return ringfort::Error{"work", std::errc::io_error};
        }
    }
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context&) {
        const bool worked = *rounds > 0;
        auto chunk = co_await peer.receive();
        if (!chunk) co_return chunk.error();
        if (chunk->text() == "end") *rounds = 999'999;
        co_return co_await peer.send_all(worked ? "at work" : "at rest");
    }
};

/// Cannot prepare itself, and does not say so in order.
struct Unprepared : Echo {
    ringfort::Result<void> start(ringfort::worker::Context&) {
        throw std::runtime_error{"thrown by a test"};
    }
};

/// Counts its connections in a pool, with the lock awaited. What it begins in, it has opened before
/// the first one.
struct Counting {
    std::optional<ringfort::shm::Pool> pool;
    std::optional<ringfort::shm::ConnectionLimiter> counts;

    ringfort::Result<void> start(ringfort::worker::Context& context) {
        auto found = context.pool("limits");
        if (!found) return found.error();
        pool = *found;
        auto opened = ringfort::shm::ConnectionLimiter::open_or_create(*pool, 0);
        if (!opened) return opened.error();
        counts = *opened;
        return {};
    }
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context& context) {
        auto transaction = co_await context.begin(*pool);
        if (!transaction) co_return transaction.error();
        const auto counted = counts->acquire(*transaction, "all", 1'000);
        if (!counted) co_return counted.error();
        const auto seen = counts->count(*transaction, "all");
        if (!seen) co_return seen.error();
        if (const auto done = transaction->commit(); !done) co_return done.error();
        co_return co_await peer.send_all("number " + std::to_string(*seen));
    }
};

/// Passes messages through a queue in a pool: "<" waits for one and answers with it, "?" waits for
/// a moment alone, "+" puts the rest in, anything else is echoed.
struct Passing {
    std::optional<ringfort::shm::Queue> queue;

    ringfort::Result<void> start(ringfort::worker::Context& context) {
        const auto pool = context.pool("limits");
        if (!pool) return pool.error();
        const auto opened = ringfort::shm::Queue::open_or_create(*pool, 0, ringfort::Bytes{64});
        if (!opened) return opened.error();
        queue = *opened;
        return {};
    }
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context& context) {
        auto chunk = co_await peer.receive();
        if (!chunk) co_return chunk.error();
        std::string text{chunk->text()};
        std::optional<ringfort::Milliseconds> limit;
        if (text == "?") limit = ringfort::Milliseconds{5};
        if (text == "<" || text == "?") {
            const auto message = co_await context.pop(*queue, limit);
            text = message ? ringfort::shm::value_of<std::string>(*message).value()
                           : message.error().text();
        } else if (text.starts_with('+')) {
            const std::string message = text.substr(1);
            const auto put = co_await context.push(*queue, ringfort::shm::bytes_of(message));
            text = put ? "put" : put.error().text();
        }
        co_return co_await peer.send_all(text);
    }
};

/// Talks with its siblings: "?" asks what it has heard, "#" tells a sibling as much as that takes,
/// anything else is told to all. Answers with a line.
struct Gossip {
    std::string heard;

    static ringfort::worker::PeerMessage message(std::uint32_t type, std::string bytes) {
        return {.service = "gossip", .type = type, .bytes = std::move(bytes)};
    }
    Served serve(ringfort::net::Stream peer, ringfort::worker::Context& context) {
        for (;;) {
            auto chunk = co_await peer.receive();
            if (!chunk) co_return chunk.error();
            if (chunk->empty()) co_return {};
            std::string answer = heard;
            if (chunk->text() == "#") {
                std::uint32_t count = 0;
                while (context.send(context.peers().at(0), message(count, std::string(3'000, 'x'))))
                    ++count;
                answer = std::to_string(count);
            } else if (chunk->text() != "?") {
                answer = std::to_string(context.peers().size()) + " peers, told " +
                         std::to_string(context.broadcast(message(5, std::string{chunk->text()})));
            }
            auto sent = co_await peer.send_all(answer + "\n");
            if (!sent) co_return sent.error();
        }
    }
    Served on_message(ringfort::worker::PeerMessage message, ringfort::worker::Context&) {
        heard += std::to_string(message.type) + " " + message.bytes + " from " +
                 std::to_string(message.from.slot) + (message.fd ? " with a descriptor" : "") + ";";
        if (message.bytes == "throw") throw std::runtime_error{"thrown by a test"};
        co_return {};
    }
};

/// Takes its time with what it hears: until the worker drains.
struct Slow : Echo {
    Served on_message(ringfort::worker::PeerMessage, ringfort::worker::Context& context) {
        co_return co_await context.draining().wait();
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
    made.services.emplace("counting", make<Counting>());
    made.services.emplace("unprepared", make<Unprepared>());
    made.services.emplace("working", make<Working>());
    made.services.emplace("passing", make<Passing>());
    made.services.emplace("gossip", make<Gossip>());
    made.services.emplace("slow", make<Slow>());
    return made;
}

}  // namespace testing
