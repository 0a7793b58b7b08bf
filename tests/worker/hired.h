/// A worker in a child process, with the test as its master. Include it after the imports.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace testing {

/// No test may hang: what is waited for comes within this time or not at all.
inline constexpr int deadline_seconds = 20;

inline bool readable(ringfort::RawFd fd, int timeout_ms = deadline_seconds * 1'000) {
    pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&polled, 1, timeout_ms) == 1;
}

struct Pipe {
    ringfort::Fd read;
    ringfort::Fd write;
    Pipe() {
        int ends[2];
        ringfort::ensure(::pipe2(ends, O_CLOEXEC) == 0, "pipe2");
        read = ringfort::Fd{ends[0]};
        write = ringfort::Fd{ends[1]};
    }
};

/// Reads until `text` has come; false when the writers are gone or the time is over before.
inline bool reads(const ringfort::Fd& from, std::string_view text) {
    std::string all;
    char buffer[4096];
    while (all.find(text) == std::string::npos) {
        if (!readable(from.get())) return false;
        const auto size = ::read(from.get(), buffer, sizeof buffer);
        if (size <= 0) return false;
        all.append(buffer, static_cast<std::size_t>(size));
    }
    return true;
}

/// The master's listener: the test keeps it, the worker gets a copy.
struct Listener {
    ringfort::Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ringfort::Address address;
    Listener() {
        const auto any = ringfort::Address::parse("127.0.0.1:0").value();
        ringfort::ensure(::bind(socket.get(), any.data(), any.size()) == 0, "bind");
        ringfort::ensure(::listen(socket.get(), 64) == 0, "listen");
        address = ringfort::Address::of_socket(socket.get()).value();
    }
    /// Says whether a connection waits that no worker has taken.
    [[nodiscard]] bool has_waiting() const { return readable(socket.get(), 0); }
};

class Client {
public:
    explicit Client(const Listener& listener) {
        const timeval limit{.tv_sec = deadline_seconds, .tv_usec = 0};
        (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        REQUIRE(::connect(socket_.get(), listener.address.data(), listener.address.size()) == 0);
    }
    void send(std::string_view text) {
        REQUIRE(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(text.size()));
    }
    /// Receives exactly as many bytes as `expected` has and compares.
    [[nodiscard]] bool receives(std::string_view expected) {
        std::string got(expected.size(), '\0');
        const auto size = ::recv(socket_.get(), got.data(), got.size(), MSG_WAITALL);
        return size == static_cast<ssize_t>(expected.size()) && got == expected;
    }
    /// Receives a line, without its end; what there was when the other side has ended before.
    [[nodiscard]] std::string line() {
        std::string got;
        char byte = 0;
        while (::recv(socket_.get(), &byte, 1, 0) == 1 && byte != '\n') got += byte;
        return got;
    }
    [[nodiscard]] bool echoes(std::string_view text) {
        send(text);
        return receives(text);
    }
    /// Waits until there is something to be received.
    [[nodiscard]] bool is_answered() const { return readable(socket_.get()); }
    /// Waits for the other side's end of the connection, in order or by a reset.
    [[nodiscard]] bool is_cut() {
        char byte = 0;
        const auto size = ::recv(socket_.get(), &byte, 1, 0);
        return size == 0 || (size < 0 && errno == ECONNRESET);
    }
    void close() { socket_.close(); }

private:
    ringfort::Fd socket_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

/// The zone of counters, small.
struct CounterZone {
    static constexpr std::uint32_t rows = 4;
    ringfort::shm::Zone zone =
        ringfort::shm::Zone::create(ringfort::worker::counters_zone, ringfort::worker::counters_tag,
                                    ringfort::worker::Counters::zone_size(rows))
            .value();
    ringfort::worker::Counters counters = ringfort::worker::Counters::format(zone, rows).value();
};

/// A zone laid out as a pool, whose keeper is the test.
struct PoolZone {
    mutable ringfort::shm::Zone zone =
        ringfort::shm::Zone::create("limits", "pool", ringfort::Bytes{262'144}).value();
    ringfort::shm::Pool pool =
        ringfort::shm::Pool::format(zone, ringfort::limits::max_counter_rows).value();
    [[nodiscard]] bool admit(std::uint32_t row, std::uint32_t slot = 3,
                             std::uint32_t generation = 7) const {  // as `Hired::start`
        return pool.admit(row, {.slot = slot, .generation = generation}).has_value();
    }
};

class Hired {
public:
    using Message = ringfort::channel::Message;

    explicit Hired(ringfort::worker::Options options) {
        auto [mine, theirs] = ringfort::channel::Channel::pair().value();
        pid_ = ::fork();
        ringfort::ensure(pid_ >= 0, "fork");
        if (pid_ == 0) {
            {
                const auto other = std::move(mine);
            }  // its EOF is for the worker to see
            ::_exit(work(std::move(theirs), std::move(options)));
        }
        master_.emplace(std::move(mine));
        errors_.write.close();
    }
    Hired() : Hired{options()} {}
    Hired(Hired&&) = delete;
    ~Hired() {
        if (pid_ > 0) (void)::kill(pid_, SIGKILL);
        if (pid_ > 0) (void)::waitpid(pid_, nullptr, 0);
    }

    void send(const Message& message, ringfort::channel::Fds fds = {}) {
        REQUIRE(master_->send(message, std::move(fds)));
    }
    void give(const ringfort::shm::Zone& zone) {
        send(
            ringfort::channel::AddZone{.name = zone.name(), .tag = zone.tag(), .size = zone.size()},
            ringfort::duplicate(zone.fd()).value());
    }
    void give(const Listener& listener, std::string service = "echo", std::uint32_t id = 0) {
        send(
            ringfort::channel::AddListener{
                .id = id, .service = std::move(service), .address = listener.address},
            listener.socket.duplicate().value());
    }
    /// A worker that failed at what it was given before may have ended its side by now.
    void start(std::uint32_t row = 2) {
        const auto sent = master_->send(
            ringfort::channel::Start{.slot = 3,
                                     .generation = 7,
                                     .row = row,
                                     .drain_timeout = ringfort::Milliseconds{60'000}});
        INFO((sent ? "" : sent.error().text()));
        REQUIRE((sent || sent.error().is(std::errc::broken_pipe) ||
                 sent.error().is(std::errc::connection_reset)));
    }
    /// Waits for the worker's next message; fails when it is of another type. What it does without
    /// on this machine is passed over, unless that is what is expected.
    template <class Expected>
    Expected receive() {
        auto received = next(std::is_same_v<Expected, ringfort::channel::Shortcoming>);
        INFO((received ? "" : received.error().text()));
        REQUIRE(received);
        REQUIRE(*received);
        INFO(ringfort::channel::kind((*received)->message).name);
        const auto* expected = std::get_if<Expected>(&(*received)->message);
        REQUIRE(expected != nullptr);
        return *expected;
    }
    /// Says whether the worker has ended its side without another word.
    bool says_no_more() {
        const auto received = next(false);
        return !received && received.error().is(std::errc::connection_reset);
    }
    void leave() { master_.reset(); }
    void signal(int number) { REQUIRE(::kill(pid_, number) == 0); }
    /// Stops it, until SIGCONT.
    void hold() {
        signal(SIGSTOP);
        int status = 0;
        REQUIRE(::waitpid(pid_, &status, WUNTRACED) == pid_);
        REQUIRE(WIFSTOPPED(status));
    }
    /// Waits for the end; returns the exit code, or 1000 and the signal that ended it.
    int exit_code() {
        int status = 0;
        REQUIRE(::waitpid(std::exchange(pid_, -1), &status, 0) > 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1'000 + WTERMSIG(status);
    }
    /// What the worker writes to standard error, which is where its log goes at first.
    [[nodiscard]] const ringfort::Fd& errors() const { return errors_.read; }

private:
    /// Waits for the worker's next message, of what kind it may be; that it does without something
    /// only if that is asked for.
    ringfort::Result<std::optional<ringfort::channel::Received>> next(bool shortcomings) {
        for (;;) {
            REQUIRE(readable(master_->fd()));
            auto received = master_->receive();
            if (shortcomings || !received || !*received ||
                !std::holds_alternative<ringfort::channel::Shortcoming>((*received)->message))
                return received;
        }
    }
    int work(ringfort::channel::Channel to_master, ringfort::worker::Options options) {
        ::alarm(deadline_seconds);
        (void)::dup2(errors_.write.get(), STDERR_FILENO);
        ringfort::log::configure({.level = ringfort::log::Level::debug});
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGTERM);
        (void)::sigprocmask(SIG_BLOCK, &set, nullptr);
        const ringfort::Fd signals{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
        options.signals = signals.get();
        return ringfort::worker::run(std::move(to_master), std::move(options));
    }

    std::optional<ringfort::channel::Channel> master_;
    Pipe errors_;
    pid_t pid_ = -1;
};

/// A worker that serves: one listener, the counters, started.
struct Serving {
    CounterZone zone;
    Listener listener;
    Hired worker;

    explicit Serving(const char* service = "echo", ringfort::worker::Options made = options(),
                     const PoolZone* pool = nullptr)
        : worker{std::move(made)} {
        worker.give(zone.zone);
        if (pool != nullptr) worker.give(pool->zone);
        worker.give(listener, service);
        worker.start();
        (void)worker.receive<ringfort::channel::Ready>();
    }
    [[nodiscard]] std::uint64_t counted(ringfort::worker::Counter counter) const {
        return zone.counters.get(2, counter);
    }
    /// Ends it in order; what it counted is final then.
    int drain() {
        worker.send(ringfort::channel::Drain{ringfort::Milliseconds{60'000}});
        (void)worker.receive<ringfort::channel::Draining>();
        return worker.exit_code();
    }
};

}  // namespace testing
