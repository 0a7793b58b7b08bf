module;
#include <ringfort/try.h>
#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <optional>
#include <utility>
module load;

import ringfort;
import :connection;

namespace load {
namespace {

namespace rf = ringfort;
using Clock = std::chrono::steady_clock;

constexpr rf::Milliseconds patrol_interval{50};  // how often time-outs and interrupts are looked at
constexpr std::uint32_t most_connecting = 256;   // at a time: a backlog must hold them
constexpr std::uint64_t own_fds = 32;            // besides the connections
constexpr std::size_t smallest_buffer = 4U << 10;
constexpr std::size_t largest_buffer = 256U << 10;

double seconds(Clock::duration duration) {
    return std::chrono::duration<double>{duration}.count();
}

/// Sets an event at an instant, finer than `sleep` does.
class Alarm : private rf::coro::Timer {
public:
    Alarm(rf::uring::Loop& loop, rf::coro::Event& event)
        : Timer{[](Timer& timer) noexcept { static_cast<Alarm&>(timer).event_.set(); }},
          loop_{loop},
          event_{event} {}
    void set(rf::Instant due) { loop_.scheduler().timers().arm(*this, due); }

private:
    rf::uring::Loop& loop_;
    rf::coro::Event& event_;
};

/// A run from the first connect to the last close.
class Conductor {
public:
    Conductor(const Options& options, rf::uring::Loop& loop)
        : options_{options},
          session_{
              .options = options,
              .loop = loop,
              .payload = Payload{options.payload_bytes,
                                 static_cast<std::uint64_t>(rf::now().time_since_epoch().count())}},
          origin_{rf::now()} {}

    rf::coro::Task<Report> conduct();

private:
    rf::coro::Task<void> connect_all(rf::coro::Scope& scope);
    rf::coro::Task<void> count_window();
    rf::coro::Task<void> pause(rf::Milliseconds duration);
    rf::coro::Task<void> patrol();
    rf::coro::Task<void> pace();
    rf::coro::Task<void> stop();
    void make_due(rf::Instant now);
    void look_after();
    template <class Done>
    rf::coro::Task<void> until(Done done);
    [[nodiscard]] bool over() const { return session_.live == 0 || session_.report.interrupted; }

    const Options& options_;
    Session session_;
    std::deque<Connection> connections_;
    rf::Instant origin_;
    std::uint64_t due_ = 0;  ///< requests of a fixed rate, so far
};

/// Waits until `done()` or nothing is left to wait for. Whatever may bring that about sets
/// `session_.changed`.
template <class Done>
rf::coro::Task<void> Conductor::until(Done done) {
    while (!done() && !over()) {
        session_.changed.reset();
        if (!co_await session_.changed.wait()) co_return;
    }
}

rf::coro::Task<void> Conductor::pause(rf::Milliseconds duration) {
    const rf::Instant end = rf::now() + duration;
    Alarm alarm{session_.loop, session_.changed};
    alarm.set(end);
    co_await until([&] { return rf::now() >= end; });
}

rf::coro::Task<void> Conductor::connect_all(rf::coro::Scope& scope) {
    const bool churn = options_.mode == Mode::churn;
    session_.live = session_.unready = options_.connections;
    for (std::uint32_t id = 0; id < options_.connections; ++id) {
        if (!churn) {
            co_await until([this] { return session_.connecting < most_connecting; });
            if (session_.report.interrupted) {
                session_.live -= options_.connections - id;
                co_return;
            }
            ++session_.connecting;
        }
        Connection& connection = connections_.emplace_back(session_, id);
        scope.spawn(churn ? connection.churn() : connection.run());
    }
    co_await until([this] { return session_.unready == 0; });
}

rf::coro::Task<Report> Conductor::conduct() {
    rf::coro::Scope connections{co_await rf::coro::current_context()};
    rf::coro::Scope attendants{co_await rf::coro::current_context()};
    attendants.spawn(patrol());
    session_.counting = options_.mode == Mode::idle;
    if (options_.before_connecting) options_.before_connecting();
    co_await connect_all(connections);
    session_.rate_origin = rf::now();
    if (session_.paced()) attendants.spawn(pace());
    co_await pause(options_.warmup);
    co_await count_window();
    co_await stop();
    co_await until([] { return false; });
    if (session_.report.interrupted) {
        for (Connection& connection : connections_) connection.abandon();
        connections.cancel();  // those that are connecting or churning, too
    }
    co_await connections.join();
    attendants.cancel();
    co_await attendants.join();
    co_return std::move(session_.report);
}

rf::coro::Task<void> Conductor::count_window() {
    Report& report = session_.report;
    if (options_.window_begins) options_.window_begins();
    report.connected = session_.live;
    session_.counting = true;
    session_.window_begin = rf::now();
    co_await pause(options_.duration);
    session_.window_end = rf::now();
    report.seconds = seconds(session_.window_end - session_.window_begin);
    session_.counting = false;
    if (options_.window_ends) options_.window_ends();
}

/// Has every connection end. Ten thousand sockets take a tenth of a second to shut down, so this
/// task lets the others run in between.
rf::coro::Task<void> Conductor::stop() {
    if (session_.paced()) make_due(session_.window_end);  // the pacer may not have come to it
    session_.starting = false;
    rf::coro::Event ready;
    ready.set();
    for (Connection& connection : connections_) {
        session_.report.behind += connection.behind();
        connection.give_up_unsent(session_.window_end);
        connection.stop();
        (void)co_await ready.wait();  // goes behind the others when this task has had its share
    }
}

/// Looks every 50 ms after what nobody else would notice.
rf::coro::Task<void> Conductor::patrol() {
    while (co_await session_.loop.sleep(patrol_interval)) look_after();
}

void Conductor::look_after() {
    const rf::Instant now = rf::now();
    Report& report = session_.report;
    for (Connection& connection : connections_) connection.look_for_timeout(now);
    if (session_.counting && options_.mode != Mode::idle)
        report.samples.push_back({seconds(now - session_.window_begin), report.requests});
    if (options_.progress)
        options_.progress(
            {seconds(now - origin_), session_.answered, report.failures.total(), session_.live});
    if (options_.interrupted && options_.interrupted()) {
        report.interrupted = true;
        session_.changed.set();
    }
}

/// Makes requests due, one connection after the other, at the fixed rate.
rf::coro::Task<void> Conductor::pace() {
    rf::coro::Event due;
    Alarm alarm{session_.loop, due};
    while (session_.starting) {
        make_due(rf::now());
        due.reset();
        alarm.set(session_.rate_origin +
                  std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>{
                      static_cast<double>(due_) / options_.rate_per_s}));
        if (!co_await due.wait()) co_return;
    }
}

void Conductor::make_due(rf::Instant now) {
    const double elapsed = seconds(now - session_.rate_origin);
    const auto wanted = static_cast<std::uint64_t>(elapsed * options_.rate_per_s) + 1;
    for (; due_ < wanted; ++due_) connections_[due_ % connections_.size()].schedule();
}

rf::Result<void> require_fds(const Options& options) {
    if (raise_fd_limit() < options.connections + own_fds)
        return rf::Error{"open that many connections", EMFILE};
    return {};
}

/// Buffers of the size of what is in flight: larger ones would only spread over more of the cache.
rf::uring::LoopOptions loop_options(const Options& options) {
    const std::size_t in_flight =
        options.mode == Mode::bulk ? largest_buffer : options.payload_bytes * options.depth;
    const auto size = std::bit_ceil(std::clamp(in_flight, smallest_buffer, largest_buffer));
    return {.receive_buffer_size = {size}};
}

}  // namespace

rf::Result<Report> run(const Options& options) {
    RF_TRY(require_fds(options));
    RF_LET(const auto loop, rf::uring::Loop::open(loop_options(options)));
    Conductor conductor{options, *loop};
    return loop->run(conductor.conduct());
}

}  // namespace load
