module;
#include <poll.h>
#include <sys/signalfd.h>

#include <ringfort/try.h>
#include <chrono>
#include <coroutine>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.worker;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.net;
import ringfort.shm;
import ringfort.uring;

namespace ringfort::worker {

/// One worker: its state, and the tasks that change it.
class Worker {
public:
    Worker(uring::Loop& loop, channel::Channel to_master, Options& options)
        : loop_{loop}, master_{std::move(to_master)}, options_{options}, context_{loop} {}

    coro::Task<int> run();

private:
    struct Listener {
        std::uint32_t id;
        std::string service;
        Address address;
        Fd socket;
    };

    /// A service, and what the stall detector calls its tasks.
    struct Running {
        std::unique_ptr<Service> service;
        coro::Label label;
    };

    coro::Task<void> obey();
    coro::Task<void> watch_signals();
    coro::Task<void> accept_from(const Listener& listener);
    coro::Task<void> accept_last();
    coro::Task<void> serve(Running& running, net::Stream peer);
    coro::Task<void> watch_peer(Peers::Key peer);
    coro::Task<void> limit_drain(Milliseconds timeout);

    void on(const channel::AddListener& message, channel::Fds fds);
    void on(const channel::AddZone& message, channel::Fds fds);
    void on(const channel::Start& message, channel::Fds fds);
    void on(const channel::Drain& message, channel::Fds) { stop(message.timeout); }
    void on(const channel::Terminate&, channel::Fds) { terminate(); }
    void on(const channel::ReopenLogs& message, channel::Fds fds);
    void on(const channel::OpenPeer& message, channel::Fds fds);
    void on(const channel::ClosePeer& message, channel::Fds fds);
    template <class Other>
    void on(const Other& message, channel::Fds fds);

    Result<void> make_service(const std::string& name);
    Result<void> start(const channel::Start& message);
    void begin_accepting(const Listener& listener);
    void stop(Milliseconds drain_timeout);
    void terminate();
    void fail(const Error& error, const std::string& what);
    void send(const channel::Message& message);
    void count(Counter counter, std::uint64_t amount = 1);

    uring::Loop& loop_;
    channel::Channel master_;
    Options& options_;
    Context context_;
    net::Sweep sweep_{loop_};
    Peers peers_;
    std::optional<Counters> counters_;
    std::uint32_t row_ = 0;
    std::map<std::string, Running> services_;  ///< those with a listener
    std::map<std::uint32_t, Listener> listeners_;
    std::optional<coro::Scope> commands_;
    std::optional<coro::Scope> acceptors_;
    std::optional<coro::Scope> connections_;
    coro::Event stop_;
    coro::Event room_;  ///< a connection has ended
    bool started_ = false;
    bool terminating_ = false;
    Milliseconds drain_timeout_{0};
    int exit_code_ = 0;
};

coro::Task<int> Worker::run() {
    const coro::Context context = co_await coro::current_context();
    commands_.emplace(context);
    acceptors_.emplace(context);
    connections_.emplace(context);
    commands_->spawn(obey());
    if (options_.signals >= 0) commands_->spawn(watch_signals());

    (void)co_await stop_.wait();
    acceptors_->cancel();
    co_await acceptors_->join();
    if (started_ && !terminating_) co_await accept_last();
    listeners_.clear();
    if (started_) {
        const auto open = static_cast<std::uint32_t>(connections_->size());
        if (!terminating_) log::info("draining {} connections", open);
        send(channel::Draining{context_.slot(), context_.generation(), open});
    }
    context_.draining().set();
    if (terminating_)
        connections_->cancel();
    else
        commands_->spawn(limit_drain(drain_timeout_));
    co_await connections_->join();
    commands_->cancel();
    co_await commands_->join();
    connections_.reset();  // scopes end before the one they were made under
    acceptors_.reset();
    commands_.reset();
    co_return exit_code_;
}

coro::Task<void> Worker::obey() {
    for (;;) {
        const std::uint32_t events = POLLIN | (master_.wants_write() ? POLLOUT : 0U);
        std::optional<Milliseconds> retry;
        if (master_.wants_retry()) retry = limits::channel_retry_ms;
        const auto polled = co_await loop_.poll(master_.fd(), events, retry);
        if (!polled && polled.error().is(std::errc::operation_canceled)) co_return;
        if (!polled && !polled.error().is(std::errc::timed_out))
            co_return fail(polled.error(), "wait for a command");
        if (master_.queued() > 0) (void)master_.flush();
        for (;;) {
            auto received = master_.receive();
            if (!received) {
                if (started_ && received.error().is(std::errc::too_many_files_open)) {
                    // What carries a descriptor after the start can be done without.
                    log::error("a command of the master was lost: {}", received.error().text());
                    continue;
                }
                if (received.error().is(std::errc::connection_reset)) {
                    log::warning("the master has gone: draining");
                    stop(drain_timeout_);
                } else {
                    fail(received.error(), "receive a command");
                }
                co_return;
            }
            if (!*received) break;
            std::visit([&](const auto& message) { on(message, std::move((*received)->fds)); },
                       (*received)->message);
            if (exit_code_ != 0) co_return;  // failed: what follows, as a start, is not obeyed
        }
    }
}

coro::Task<void> Worker::watch_signals() {
    signalfd_siginfo info{};
    for (;;) {
        // Polled first: the descriptor is non-blocking, and a ring would answer EAGAIN.
        if (!co_await loop_.poll(options_.signals, POLLIN)) co_return;
        const auto size =
            co_await loop_.read(options_.signals, std::as_writable_bytes(std::span{&info, 1}));
        if (!size || *size != sizeof info) continue;
        log::info("signal {} from process {}: draining", info.ssi_signo, info.ssi_pid);
        stop(drain_timeout_);
    }
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
            if (!peer.error().is(std::errc::operation_canceled))
                log::error("{}: {}", listener.address.text(), peer.error().text());
            co_return;
        }
        connections_->spawn(serve(services_.at(listener.service), *std::move(peer)));
    }
}

/// Takes what has arrived before the listeners are closed: connections that wait in a queue which
/// nobody else may read, or for which the kernel woke only the accept that was cancelled. Bounded:
/// under a load that keeps the queue filled, other workers are woken all the time.
coro::Task<void> Worker::accept_last() {
    for (const auto& [id, listener] : listeners_) {
        net::Acceptor acceptor{loop_, listener.socket.get()};
        for (std::uint32_t i = 0; i < limits::last_accepts && !terminating_; ++i) {
            auto peer = co_await acceptor.accept_waiting();
            if (!peer) log::warning("{}: {}", listener.address.text(), peer.error().text());
            if (!peer || !*peer) break;
            connections_->spawn(serve(services_.at(listener.service), **std::move(peer)));
        }
    }
}

coro::Task<void> Worker::serve(Running& running, net::Stream peer) {
    co_await coro::Relabel{running.label};
    count(Counter::accepted);
    counters_->add(row_, Counter::active);
    try {
        const auto outcome = co_await running.service->serve(std::move(peer), context_);
        if (!outcome) {
            count(Counter::failed);
            log::debug("connection ended: {}", outcome.error().text());
        }
    } catch (const std::exception& exception) {
        count(Counter::failed);
        log::error("a service threw: {}", exception.what());
    } catch (...) {
        count(Counter::failed);
        log::error("a service threw what is no std::exception");
    }
    counters_->subtract(row_, Counter::active);
    room_.set();
}

coro::Task<void> Worker::watch_peer(Peers::Key peer) {
    for (;;) {
        const RawFd fd = peers_.fd(peer);
        if (fd < 0 || !co_await loop_.poll(fd, POLLIN)) co_return;
        if (!peers_.receive(peer)) co_return;
    }
}

coro::Task<void> Worker::limit_drain(Milliseconds timeout) {
    if (!co_await loop_.sleep(timeout)) co_return;
    log::warning("drain time of {} ms is over: {} connections are cut", timeout.count(),
                 connections_->size());
    connections_->cancel();
}

void Worker::on(const channel::AddListener& message, channel::Fds fds) {
    if (!options_.services.contains(message.service))
        return fail(Error{"add a listener", std::errc::invalid_argument},
                    "no service is called " + message.service);
    if (const auto made = make_service(message.service); !made)
        return fail(made.error(), "service " + message.service);
    const auto [place, added] = listeners_.try_emplace(
        message.id, Listener{message.id, message.service, message.address, std::move(fds[0])});
    if (!added)
        return fail(Error{"add a listener", std::errc::file_exists}, message.address.text());
    if (started_) begin_accepting(place->second);
}

void Worker::on(const channel::AddZone& message, channel::Fds fds) {
    if (started_ || context_.zones_.contains(message.name))  // views into the old one are in use
        return fail(Error{"add a zone", std::errc::file_exists}, "zone " + message.name);
    auto zone = shm::Zone::attach(std::move(fds[0]), message.name, message.tag);
    if (!zone) return fail(zone.error(), "zone " + message.name);
    if (zone->size() != message.size)
        return fail(Error{"add a zone", std::errc::invalid_argument}, "zone " + message.name);
    context_.zones_.insert_or_assign(message.name, *std::move(zone));
}

void Worker::on(const channel::Start& message, channel::Fds) {
    const auto started = start(message);
    if (!started) return fail(started.error(), "start");
    for (const auto& [id, listener] : listeners_) begin_accepting(listener);
    log::info("ready");
    send(channel::Ready{context_.slot(), context_.generation()});
}

void Worker::on(const channel::ReopenLogs&, channel::Fds fds) {
    log::write_to(fds.empty() ? Fd{} : std::move(fds[0]));
}

void Worker::on(const channel::OpenPeer& message, channel::Fds fds) {
    const Peers::Key peer{message.generation, message.slot};
    peers_.open({context_.generation(), context_.slot()}, peer, std::move(fds[0]));
    commands_->spawn(watch_peer(peer));
}

void Worker::on(const channel::ClosePeer& message, channel::Fds) {
    peers_.close({message.generation, message.slot});
}

template <class Other>
void Worker::on(const Other&, channel::Fds) {
    fail(Error{"receive a command", std::errc::protocol_error}, std::string{Other::kind.name});
}

/// Makes the service if it is the first listener's that needs it.
Result<void> Worker::make_service(const std::string& name) try {
    const auto [place, added] = services_.try_emplace(name);
    Running& running = place->second;
    running.label.name = place->first;
    if (!running.service) running.service = options_.services.at(name)();
    return {};
} catch (const std::exception& exception) {
    log::error("service {} cannot be made: {}", name, exception.what());
    return Error{"make the service", std::errc::invalid_argument};
} catch (...) {
    return Error{"make the service", std::errc::invalid_argument};
}

Result<void> Worker::start(const channel::Start& message) {
    if (started_) return Error{"start", std::errc::already_connected};
    context_.slot_ = message.slot;
    context_.generation_ = message.generation;
    drain_timeout_ = message.drain_timeout;
    row_ = message.row;
    const auto zone = context_.zones_.find(counters_zone);
    if (zone == context_.zones_.end())
        return Error{"find the counters", std::errc::no_such_file_or_directory};
    RF_LET(counters_, Counters::attach(zone->second));
    if (row_ >= counters_->slots())
        return Error{"find the counters", std::errc::argument_out_of_domain};
    counters_->set(row_, Counter::active, 0);  // what a killed predecessor left there
    started_ = true;
    return {};
}

void Worker::begin_accepting(const Listener& listener) {
    if (stop_.is_set()) return;
    acceptors_->spawn(accept_from(listener));
}

void Worker::stop(Milliseconds drain_timeout) {
    if (stop_.is_set()) return;
    drain_timeout_ = drain_timeout;
    stop_.set();
}

void Worker::terminate() {
    if (!std::exchange(terminating_, true) && connections_->size() > 0)
        log::warning("told to end at once: {} connections are cut", connections_->size());
    stop_.set();
    connections_->cancel();
}

void Worker::fail(const Error& error, const std::string& what) {
    // Before the start it is the master who reports it.
    if (started_)
        log::error("{}: {}", what, error.text());
    else
        send(channel::Failed{context_.slot(), context_.generation(), error.code().value(),
                             what + ": " + error.text()});
    exit_code_ = 1;
    terminate();
}

void Worker::send(const channel::Message& message) {
    const auto sent = master_.send(message);
    if (!sent) log::debug("{} to the master: {}", channel::kind(message).name, sent.error().text());
}

void Worker::count(Counter counter, std::uint64_t amount) {
    counters_->add(row_, counter, amount);
}

namespace {

/// Tells the master why there will be no worker; returns the exit code.
int give_up(channel::Channel& master, const Error& error, const std::string& text) {
    const auto sent =
        master.send(channel::Failed{.error_number = error.code().value(), .text = text});
    if (!sent) log::error("{}", text);
    return 1;
}

}  // namespace

int run(channel::Channel to_master, Options options) {
    auto loop = uring::Loop::open(options.loop);
    if (!loop) {
        const auto facts = uring::gather_facts(options.loop.submissions, options.loop.completions,
                                               options.loop.max_receive_buffers);
        return give_up(to_master, loop.error(),
                       "no io_uring: " + uring::diagnose(loop.error(), facts).text);
    }
    for (const std::string& text : (*loop)->shortcomings()) log::warning("{}", text);
    if (options.ring_made)
        if (const auto made = options.ring_made(); !made)
            return give_up(to_master, made.error(), "drop privileges: " + made.error().text());
    Worker worker{**loop, std::move(to_master), options};
    return (*loop)->run(worker.run());
}

}  // namespace ringfort::worker
