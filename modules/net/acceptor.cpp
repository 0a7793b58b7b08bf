module;
#include <poll.h>
#include <ringfort/try.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.net;

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

namespace ringfort::net {
namespace {

/// Errors of accept(2) that concern one connection, which is gone, and not the listener.
bool skips_one(const Error& error) {
    using enum std::errc;
    for (const std::errc why : {connection_aborted, interrupted, protocol_error, no_protocol_option,
                                network_down, network_unreachable, host_unreachable, timed_out})
        if (error.is(why)) return true;
    return false;
}

/// A firewall or a security module may refuse one connection, or all of them for a while.
bool is_refusal(const Error& error) {
    return error.is(std::errc::operation_not_permitted);
}

}  // namespace

bool is_exhaustion(const Error& error) {
    using enum std::errc;
    return error.is(too_many_files_open) || error.is(too_many_files_open_in_system) ||
           error.is(no_buffer_space) || error.is(not_enough_memory);
}

Sweep::Sweep(uring::Loop& loop) noexcept
    : Timer{[](Timer& timer) noexcept { static_cast<Sweep&>(timer).look(); }}, loop_{loop} {}

Sweep::~Sweep() {
    ensure(acceptors_.empty(), "a sweep was destroyed before an acceptor of its");
}

void Sweep::add(Acceptor& acceptor) {
    listeners_.push_back({.fd = acceptor.listener_, .events = POLLIN, .revents = 0});
    acceptors_.push_back(&acceptor);
    if (!armed())
        loop_.scheduler().timers().arm(*this, loop_.scheduler().after(limits::accept_sweep_ms));
}

void Sweep::remove(Acceptor& acceptor) noexcept {
    const auto place = std::ranges::find(acceptors_, &acceptor);
    listeners_.erase(listeners_.begin() + (place - acceptors_.begin()));
    acceptors_.erase(place);
    if (acceptors_.empty()) disarm();
}

void Sweep::look() noexcept {
    if (::poll(listeners_.data(), listeners_.size(), 0) > 0)
        for (std::size_t i = 0; i < listeners_.size(); ++i)
            if (listeners_[i].revents != 0 && acceptors_[i]->asking_ != nullptr)
                acceptors_[i]->asking_->expire();  // it is asked for anew
    loop_.scheduler().timers().arm(*this, loop_.scheduler().after(limits::accept_sweep_ms));
}

Acceptor::Acceptor(uring::Loop& loop, RawFd listener, const AcceptorOptions& options)
    : loop_{loop}, listener_{listener}, backoff_{options.backoff}, sweep_{options.sweep} {
    if (options.exclusive) stream_.emplace(loop, listener);
    if (sweep_ != nullptr) sweep_->add(*this);
}

Acceptor::~Acceptor() {
    ensure(!used_, "an acceptor was destroyed while a task accepts from it");
    if (sweep_ != nullptr) sweep_->remove(*this);
}

/// A task's use of an acceptor, for as long as that accepts.
class Acceptor::Use {
public:
    explicit Use(Acceptor& acceptor) noexcept : used_{acceptor.used_} {
        ensure(!std::exchange(used_, true), "two tasks accept from one acceptor");
    }
    Use(Use&&) = delete;
    ~Use() { used_ = false; }

private:
    bool& used_;
};

coro::Task<Result<Fd>> Acceptor::ask() {
    uring::FdOperation operation = loop_.accept(listener_);
    asking_ = &operation;
    auto socket = co_await operation;
    asking_ = nullptr;
    co_return socket;
}

coro::Task<Result<Stream>> Acceptor::accept() {
    const Use use{*this};
    for (;;) {
        auto socket = stream_ ? co_await stream_->next() : co_await ask();
        if (socket) {
            if (std::exchange(exhausted_, false)) log::info("accepting again");
            co_return Stream{loop_, *std::move(socket)};
        }
        if (is_exhaustion(socket.error())) {
            if (!std::exchange(exhausted_, true))
                log::warning(
                    "{}: no connection is accepted until resources are free; retrying every "
                    "{} ms. Raise master.open_files or lower worker.connections.",
                    socket.error().text(), backoff_.count());
            RF_CO_TRY(co_await loop_.sleep(backoff_));
        } else if (is_refusal(socket.error())) {
            warn_of_refusal(socket.error());
            RF_CO_TRY(co_await loop_.sleep(backoff_));
        } else if (!skips_one(socket.error())) {
            co_return socket.error();
        }
    }
}

void Acceptor::warn_of_refusal(const Error& error) {
    const Instant time = loop_.scheduler().time();
    if (time < silent_until_) return;
    silent_until_ = time + limits::accept_warning_ms;
    log::warning(
        "{}: a firewall or a security module refuses connections; after each the acceptor rests "
        "for {} ms. Look at the rules of the machine for this program.",
        error.text(), backoff_.count());
}

/// Takes what an exclusive acceptor has accepted ahead, then what waits in the kernel's queue.
coro::Task<Result<std::optional<Fd>>> Acceptor::take_waiting() {
    using enum std::errc;
    if (stream_) {
        auto socket = co_await stream_->last();
        if (!socket || *socket) co_return socket;
    }
    // Two awaits, so that either is an operation of its own.
    auto socket = loop_.features().instant_accepts
                      ? co_await loop_.accept_waiting(listener_)
                      : co_await loop_.accept(listener_, Milliseconds{1});
    if (socket) co_return *std::move(socket);
    const Error& error = socket.error();
    if (error.is(resource_unavailable_try_again) || error.is(timed_out))
        co_return std::optional<Fd>{};
    co_return error;
}

coro::Task<Result<std::optional<Stream>>> Acceptor::accept_waiting() {
    const Use use{*this};
    for (;;) {
        auto socket = co_await take_waiting();
        if (socket && *socket) co_return Stream{loop_, **std::move(socket)};
        if (socket) co_return std::optional<Stream>{};
        if (!skips_one(socket.error())) co_return socket.error();
    }
}

}  // namespace ringfort::net
