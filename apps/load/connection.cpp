module;
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <ringfort/try.h>
#include <sys/socket.h>

#include <algorithm>
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
#include <vector>
module load;

import ringfort;
import :connection;

namespace load {
namespace {

namespace rf = ringfort;
constexpr std::size_t most_at_once = 64U << 10;  // bytes a connection fills and sends in one go
constexpr std::size_t most_at_once_in_bulk = 256U << 10;

/// What is in flight fits into the socket's buffers at their smallest, so sending never waits for
/// the server to be read from: one task can do both, and costs less than two.
bool fits_one_task(const Options& options) {
    constexpr std::size_t always_fits = 16U << 10;
    const bool closed_loop = options.mode == Mode::echo || options.mode == Mode::idle;
    return closed_loop && options.rate_per_s == 0 &&
           options.payload_bytes * options.depth <= always_fits;
}

std::size_t scratch_bytes(const Options& options) {
    if (options.mode == Mode::bulk) return most_at_once_in_bulk;
    return std::min(most_at_once, options.payload_bytes * options.depth);
}

/// Tells, of a connection of which a receive has met the end, whether it was reset: the kernel
/// tells that to one of two calls, and if it was the send, the receive meets a mere end. A
/// connection whose peer has closed it in order is half open still. False for unix sockets.
bool was_reset(rf::RawFd socket) noexcept {
    tcp_info info{};
    socklen_t size = sizeof info;
    return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_state == TCP_CLOSE;
}

std::uint64_t Failures::* counter_of(const rf::Error& error) {
    if (error.is(std::errc::connection_refused)) return &Failures::refused;
    if (error.is(std::errc::connection_reset)) return &Failures::reset;
    if (error.is(std::errc::broken_pipe)) return &Failures::reset;
    if (error.is(std::errc::timed_out)) return &Failures::timed_out;
    return &Failures::other;
}

}  // namespace

/// A closed loop's latencies are those of the answers inside the window. At a fixed rate they are
/// those of the requests due inside it, whenever their answers come: otherwise a pause of the
/// server that lasts beyond the window would hide the very requests that it delays most.
void Session::count(rf::Instant begun, rf::Instant now) noexcept {
    ++answered;
    if (counting) ++report.requests;
    if (paced() ? in_window(begun) : counting) record(now - begun);
}

void Session::give_up(rf::Instant due, rf::Instant now) noexcept {
    if (in_window(due)) record(now - due);
}

void Session::record(rf::Instant::duration duration) noexcept {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
    report.latency.record(static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0)));
}

void Session::ready() noexcept {
    if (--unready == 0) changed.set();
}

Connection::Connection(Session& session, std::uint32_t id)
    : session_{session},
      id_{id},
      alone_{fits_one_task(session.options)},
      quota_{session.options.mode == Mode::idle ? 1 : unlimited},
      begun_(session.options.mode == Mode::bulk ? 0 : session.options.depth) {}

rf::coro::Task<rf::Result<rf::net::Stream>> Connection::connect() {
    const Options& options = session_.options;
    auto stream = co_await rf::net::connect(session_.loop, options.target, options.timeout);
    --session_.connecting;
    session_.changed.set();
    co_return stream;
}

rf::coro::Task<void> Connection::run() {
    auto stream = co_await connect();
    const bool ready_at_once = session_.options.mode != Mode::idle;
    if (!stream) fail(stream.error());
    if (!stream || ready_at_once) session_.ready();
    if (stream) {
        stream_.emplace(*std::move(stream));
        scope_.emplace(co_await rf::coro::current_context());
        since_ = rf::now();
        scratch_.resize(scratch_bytes(session_.options));
        start_requests(since_);
        if (!alone_) scope_->spawn(write());
        scope_->spawn(read());
        co_await scope_->join();
        scope_.reset();
        stream_.reset();
        // Whoever waits for all of them to become ready must not wait for this one.
        if (!ready_at_once && answered_ == 0) session_.ready();
    }
    leave();
}

void Connection::leave() {
    if (--session_.live == 0) session_.changed.set();
}

/// Sends what has been started, in the order of the stream; ends when the scope is cancelled.
rf::coro::Task<void> Connection::write() {
    for (;;) {
        const auto piece = next_piece();
        if (piece.empty()) {
            end_when_answered();
            more_.reset();
            if (!co_await more_.wait()) co_return;
            continue;
        }
        const auto sent = co_await stream_->send_all(piece);
        writing_ = false;
        if (!sent) {
            fail(sent.error());
            co_return;
        }
    }
}

/// Fills in the next bytes to send; none when everything due has been sent.
std::span<const std::byte> Connection::next_piece() {
    const auto size = std::min<std::uint64_t>(scratch_.size(), due_bytes() - handed_);
    const auto piece = std::span{scratch_}.first(size);
    session_.payload.fill(id_, handed_, piece);
    handed_ += size;  // before they have gone: the answer may overtake the completion
    writing_ = size > 0;
    return piece;
}

std::uint64_t Connection::due_bytes() const {
    const std::uint64_t message = session_.payload.message_bytes();
    if (session_.options.mode != Mode::bulk) return started_ * message;
    if (session_.starting) return unlimited;
    return (handed_ + message - 1) / message * message;
}

rf::coro::Task<void> Connection::read() {
    for (;;) {
        if (alone_) {
            for (auto piece = next_piece(); !piece.empty(); piece = next_piece()) {
                const auto sent = co_await stream_->send_all(piece);
                writing_ = false;
                if (!sent) fail(sent.error());
                if (failed_) break;
            }
            end_when_answered();
        }
        const auto chunk = co_await stream_->receive();
        if (!chunk) {
            fail(chunk.error());
        } else if (!chunk->empty()) {
            if (verify(chunk->bytes())) {
                complete_requests();
                if (!alone_) end_when_answered();
                continue;
            }
        } else if (!closing_) {
            fail(was_reset(stream_->fd()) ? &Failures::reset : &Failures::early_eof);
        }
        break;
    }
    scope_->cancel();
}

/// Verifies what was received; false after a failure.
bool Connection::verify(std::span<const std::byte> bytes) {
    if (received_ + bytes.size() > handed_) {
        fail(&Failures::excess);
        return false;
    }
    if (!session_.payload.matches(id_, received_, bytes)) {
        fail(&Failures::mismatched);
        return false;
    }
    received_ += bytes.size();
    if (session_.counting) session_.report.bytes += bytes.size();
    return true;
}

void Connection::complete_requests() {
    const std::uint64_t complete = received_ / session_.payload.message_bytes();
    if (answered_ == complete) return;
    const bool first = answered_ == 0;
    const rf::Instant now = rf::now();
    since_ = now;
    if (session_.options.mode == Mode::bulk) {
        session_.answered += complete - answered_;
        if (session_.counting) session_.report.requests += complete - answered_;
        answered_ = complete;
        return;
    }
    for (; answered_ < complete; ++answered_)
        session_.count(begun_[answered_ % begun_.size()], now);
    if (first && session_.options.mode == Mode::idle) session_.ready();
    start_requests(now);
}

/// Begins the requests that are due and that the pipeline has room for. In a closed loop that is
/// one for each answer; at a fixed rate they began when they were due, however late that is
/// noticed.
void Connection::start_requests(rf::Instant now) {
    if (!session_.starting || begun_.empty()) return;
    const bool paced = session_.paced();
    const std::uint64_t room = std::min(answered_ + begun_.size(), quota_);
    const std::uint64_t due = paced ? std::min(room, scheduled_) : room;
    if (started_ >= due) return;
    if (answered_ == started_) since_ = now;
    for (; started_ < due; ++started_)
        begun_[started_ % begun_.size()] = paced ? intended(started_) : now;
    if (!writing_ && !alone_) more_.set();
}

rf::Instant Connection::intended(std::uint64_t request) const {
    const std::uint64_t number = request * session_.options.connections + id_;
    const double seconds = static_cast<double>(number) / session_.options.rate_per_s;
    return session_.rate_origin + std::chrono::duration_cast<rf::Instant::duration>(
                                      std::chrono::duration<double>{seconds});
}

void Connection::schedule() {
    ++scheduled_;
    if (scope_ && !failed_) start_requests(rf::now());
}

void Connection::give_up_unsent(rf::Instant now) {
    for (std::uint64_t request = started_; request < scheduled_; ++request)
        session_.give_up(intended(request), now);
}

/// A request whose connection fails has waited until now, and longer.
void Connection::give_up_unanswered() {
    if (!session_.paced()) return;
    const rf::Instant now = rf::now();
    for (std::uint64_t request = answered_; request < started_; ++request)
        session_.give_up(intended(request), now);
}

/// Tells the server that nothing more comes; it must now close without sending another byte.
void Connection::end_when_answered() {
    if (session_.starting || closing_ || writing_ || !stream_ || failed_) return;
    if (handed_ != due_bytes() || received_ != handed_) return;
    closing_ = true;
    since_ = rf::now();
    if (const auto told = stream_->shutdown_write(); !told) fail(told.error());
}

void Connection::stop() {
    if (!scope_) return;
    since_ = std::max(since_, session_.loop.scheduler().time());
    if (alone_)
        end_when_answered();
    else
        more_.set();  // the writer looks whether anything is left, and if not, ends the stream
}

void Connection::look_for_timeout(rf::Instant now) {
    if (!scope_ || failed_) return;
    const bool waiting = closing_ || received_ < handed_ || session_.options.mode == Mode::bulk;
    if (waiting && now - since_ > session_.options.timeout) fail(&Failures::timed_out);
}

void Connection::fail(std::uint64_t Failures::* counter) {
    if (std::exchange(failed_, true)) return;
    ++(session_.report.failures.*counter);
    give_up_unanswered();
    const std::uint64_t message = session_.payload.message_bytes();
    session_.report.lost += std::max(started_, (handed_ + message - 1) / message) - answered_;
    if (scope_) scope_->cancel();
}

void Connection::fail(const rf::Error& error) {
    // Cancelled means that it failed before, or that the run was interrupted.
    if (failed_ || error.is(std::errc::operation_canceled)) return;
    const auto counter = counter_of(error);
    if (counter == &Failures::other && session_.report.first_error.empty())
        session_.report.first_error = error.text();
    fail(counter);
}

}  // namespace load
