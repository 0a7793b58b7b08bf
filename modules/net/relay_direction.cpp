module;
#include <poll.h>
#include <ringfort/try.h>
#include <sys/socket.h>

#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {
namespace {

enum class After : std::uint8_t { end, copy };

/// Tells a direction in bulk from others by what it receives.
class BulkRun {
public:
    /// Notes a receive; returns whether the direction is bulk by now.
    [[nodiscard]] bool add(std::size_t bytes) noexcept {
        bytes_ = bytes < limits::relay_bulk_chunk.count ? 0 : bytes_ + bytes;
        return bytes_ >= limits::relay_bulk_run.count;
    }
    void begin_anew() noexcept { bytes_ = 0; }

private:
    std::size_t bytes_ = 0;
};

/// Returns what has broken a connection from which nothing is received.
std::optional<Error> failure_of(uring::Socket& socket) noexcept {
    if (const auto failure = socket.receiver().failure()) return failure;
    // Only what poll(2) tells of has broken it: the option alone would give passing errors, too.
    pollfd broken{.fd = socket.fd(), .events = 0, .revents = 0};
    if (::poll(&broken, 1, 0) != 1 || (broken.revents & POLLERR) == 0) return {};
    int code = 0;
    socklen_t size = sizeof code;
    if (::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &code, &size) != 0 || code == 0) return {};
    return Error{"receive", code};
}

bool again(const Error& error) noexcept {
    return error.is(std::errc::resource_unavailable_try_again);
}

/// Ends the receive that the ring keeps up, and sends on what it has brought.
coro::Task<Result<void>> send_rest(const Direction& direction) {
    direction.from.socket().receiver().pause();
    std::optional<StallGuard> watch;
    watch.emplace(direction.relaying, direction.from.socket());
    for (;;) {
        RF_CO_LET(Chunk chunk, co_await direction.from.socket().receive_rest());
        if (chunk.empty()) break;
        direction.count(chunk.size());
        RF_CO_TRY(co_await direction.to.post(std::move(chunk)));
    }
    // What an orderly end has left is delivered, whatever becomes of the writer afterwards.
    if (direction.from.socket().receiver().ended()) watch.reset();
    co_return co_await direction.to.flush();
}

coro::Task<Result<void>> drain(const Direction& direction, Pipe& pipe, RawFd to) {
    std::optional<StallGuard> watch;
    for (;;) {
        const auto sent = pipe.drain(to);
        if (sent) {
            direction.count(*sent);
            if (pipe.size() == 0) co_return {};
        } else if (!again(sent.error())) {
            co_return sent.error();
        }
        if (!watch) watch.emplace(direction.relaying, direction.from.socket());
        // A socket that took a part takes no more now.
        RF_CO_TRY(co_await direction.relaying.loop.poll(to, POLLOUT));
    }
}

/// Splices until the direction ends, is bulk no more, or there is no pipe. Takes the direction by
/// value, and keeps both descriptors: with many relays what the caller and the streams hold is not
/// in the cache.
coro::Task<Result<After>> splice(Direction direction) {
    PipePool& pipes = PipePool::of_this_thread();
    const RawFd from = direction.from.fd();
    const RawFd to = direction.to.fd();
    if (!pipes.take()) co_return After::copy;
    RF_CO_TRY(co_await send_rest(direction));
    // Its receive says how it has ended.
    if (direction.from.socket().receiver().ended()) co_return After::copy;
    const NonBlocking::Hold hold{direction.relaying.non_blocking};
    for (std::uint32_t small = 0; small < limits::relay_small_splices;) {
        RF_CO_TRY(co_await direction.relaying.loop.poll(from, POLLIN));
        // Taken only now: a direction that waits for bytes holds no pipe.
        auto pipe = pipes.take();
        if (!pipe) co_return After::copy;
        direction.fetch();  // while the kernel moves pages
        const auto filled = pipe->fill(from);
        if (!filled && filled.error().is(std::errc::invalid_argument)) co_return After::copy;
        if (!filled && !again(filled.error())) co_return filled.error();
        if (filled && *filled == 0) co_return After::end;
        const bool is_small = !filled || *filled < limits::relay_small_splice.count;
        small = is_small ? small + 1 : 0;
        direction.relaying.guard.touch();
        if (filled) RF_CO_TRY(co_await drain(direction, *pipe, to));
    }
    co_return After::copy;
}

}  // namespace

StallGuard::StallGuard(Relaying& relaying, uring::Socket& writer) noexcept
    : Timer{[](coro::Timer& timer) noexcept { static_cast<StallGuard&>(timer).look(); }},
      relaying_{relaying},
      writer_{writer} {
    rearm();
}

void StallGuard::rearm() noexcept {
    coro::Scheduler& scheduler = relaying_.loop.scheduler();
    scheduler.timers().arm(*this, scheduler.after(limits::relay_stall_ms));
}

void StallGuard::look() noexcept {
    if (const auto failure = failure_of(writer_))
        relaying_.fail(*failure);
    else
        rearm();
}

coro::Task<> run(Direction direction) {
    BulkRun run;
    for (;;) {
        auto chunk = co_await direction.from.receive();
        if (!chunk) co_return direction.relaying.fail(chunk.error());
        if (chunk->empty()) break;
        const bool bulk = run.add(chunk->size());
        direction.count(chunk->size());
        std::optional<StallGuard> watch;
        if (direction.to.socket().sends())
            watch.emplace(direction.relaying, direction.from.socket());
        const auto posted = co_await direction.to.post(*std::move(chunk));
        watch.reset();
        if (!posted) co_return direction.relaying.fail(posted.error());
        if (!bulk) continue;
        run.begin_anew();
        const auto after = co_await splice(direction);
        if (!after) co_return direction.relaying.fail(after.error());
        if (*after == After::end) break;
    }
    const auto flushed = co_await direction.to.flush();
    if (!flushed) co_return direction.relaying.fail(flushed.error());
    // The reader may have left altogether: then there is nobody to tell that no more will come.
    const auto told = direction.to.shutdown_write();
    if (!told && !told.error().is(std::errc::not_connected)) direction.relaying.fail(told.error());
}

}  // namespace ringfort::net
