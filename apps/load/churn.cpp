module;
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <utility>
#include <vector>
module load;

import ringfort;
import :connection;

namespace load {

namespace rf = ringfort;

rf::coro::Task<void> Connection::churn() {
    std::vector<std::byte> scratch(session_.options.payload_bytes);
    session_.ready();
    while (session_.starting && co_await visit(scratch)) {
    }
    leave();
}

/// Connects, has one request answered, closes its half and sees the server close the other: that
/// whole time is the visit's latency.
rf::coro::Task<bool> Connection::visit(std::span<std::byte> scratch) {
    const rf::Instant begun = rf::now();
    ++session_.connecting;
    auto stream = co_await connect();
    if (!stream) {
        fail(stream.error());
        co_return false;
    }
    if (!co_await exchange(*stream, scratch)) {
        stream->reset_on_close();
        co_return false;
    }
    ++answered_;
    session_.count(begun, rf::now());
    co_return true;
}

rf::coro::Task<bool> Connection::exchange(rf::net::Stream& stream, std::span<std::byte> scratch) {
    const auto limit = session_.options.timeout;
    ++started_;
    session_.payload.fill(id_, handed_, scratch);
    handed_ += scratch.size();
    const auto sent = co_await stream.send_all(scratch, limit);
    if (!sent) {
        fail(sent.error());
        co_return false;
    }
    for (;;) {
        const auto chunk = co_await stream.receive(limit);
        if (!chunk) {
            fail(chunk.error());
            co_return false;
        }
        if (chunk->empty() && received_ == handed_) co_return true;
        if (chunk->empty()) {
            fail(&Failures::early_eof);
            co_return false;
        }
        if (!verify(chunk->bytes())) co_return false;
        if (received_ < handed_) continue;
        if (const auto told = stream.shutdown_write(); !told) {
            fail(told.error());
            co_return false;
        }
    }
}

}  // namespace load
