#include "generator.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <span>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "payload.hpp"

namespace bench {
namespace {

constexpr std::size_t scratch_bytes = 256 * 1024;
constexpr std::size_t batch = 256;
constexpr std::uint64_t patrol_ns = 50'000'000;  // how often time-outs and interrupts are looked at
constexpr rlim_t own_fds = 32;                   // besides the connections

std::uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t ns(std::chrono::milliseconds time) {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

[[noreturn]] void fail_setup(const char* step) {
    throw std::system_error(errno, std::generic_category(), step);
}

struct Connection {
    enum class State { connecting, open, closing, gone };

    std::uint32_t id = 0;
    int fd = -1;
    State state = State::gone;
    bool wants_write = false;             // EPOLLOUT is being watched
    std::uint64_t sent = 0;               // bytes of the stream
    std::uint64_t received = 0;           // bytes of the stream
    std::uint64_t started = 0;            // requests
    std::uint64_t answered = 0;           // requests
    std::uint64_t phase_began_ns = 0;     // connect or shutdown
    std::vector<std::uint64_t> start_ns;  // of the requests in flight, by number modulo depth
};

class Generator {
public:
    explicit Generator(const LoadOptions& options);
    ~Generator();
    Generator(const Generator&) = delete;
    Generator& operator=(const Generator&) = delete;

    LoadReport run();

private:
    using State = Connection::State;

    void connect_all();
    void connect_one(Connection& peer);
    template <typename Done>
    void turn_until(std::uint64_t deadline_ns, Done done);
    void dispatch(Connection& peer, std::uint32_t events);
    void finish_connect(Connection& peer);
    void receive(Connection& peer);
    void take(Connection& peer, std::span<const std::byte> bytes);
    void start_requests(Connection& peer);
    void flush(Connection& peer);
    void close_own_half(Connection& peer);
    void watch(Connection& peer, int operation, std::uint32_t events);
    void look_for_timeouts();
    void fail(Connection& peer, std::uint64_t& counter);
    void fail_errno(Connection& peer, int error);
    void retire(Connection& peer);

    const LoadOptions& options_;
    Payload payload_;
    std::uint64_t timeout_ns_;
    sockaddr_in server_{};
    int poller_ = -1;
    std::vector<Connection> connections_;
    std::vector<std::byte> scratch_ = std::vector<std::byte>(scratch_bytes);
    std::size_t live_ = 0;        // neither failed nor finished
    std::size_t connecting_ = 0;  // of those, not connected yet
    bool starting_ = true;        // new requests are sent
    bool counting_ = false;       // inside the window
    LoadReport report_;
};

Generator::Generator(const LoadOptions& options)
    : options_(options),
      payload_(options.payload_bytes, now_ns()),
      timeout_ns_(ns(options.timeout)),
      connections_(options.connections) {
    server_.sin_family = AF_INET;
    server_.sin_port = htons(options.port);
    if (inet_pton(AF_INET, options.host.c_str(), &server_.sin_addr) != 1) {
        throw std::invalid_argument("not an IPv4 address: " + options.host);
    }
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail_setup("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail_setup("setrlimit");
    if (limit.rlim_cur < options.connections + own_fds) {
        throw std::invalid_argument("the fd limit is " + std::to_string(limit.rlim_cur) +
                                    ", too low for " + std::to_string(options.connections) +
                                    " connections: raise it with ulimit -n");
    }
    poller_ = epoll_create1(EPOLL_CLOEXEC);
    if (poller_ < 0) fail_setup("epoll_create1");
}

Generator::~Generator() {
    for (const Connection& peer : connections_) {
        if (peer.fd >= 0) close(peer.fd);
    }
    close(poller_);
}

void Generator::watch(Connection& peer, int operation, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.u32 = peer.id;
    if (epoll_ctl(poller_, operation, peer.fd, &event) != 0) fail_setup("epoll_ctl");
}

void Generator::connect_all() {
    live_ = connecting_ = connections_.size();
    for (std::uint32_t id = 0; id < connections_.size(); ++id) {
        connections_[id].id = id;
        connections_[id].start_ns.resize(options_.depth);
        connect_one(connections_[id]);
    }
}

void Generator::connect_one(Connection& peer) {
    peer.state = State::connecting;
    peer.phase_began_ns = now_ns();
    peer.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer.fd < 0) fail_setup("socket");
    const int on = 1;
    setsockopt(peer.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto* address = reinterpret_cast<const sockaddr*>(&server_);
    if (connect(peer.fd, address, sizeof server_) != 0 && errno != EINPROGRESS) {
        fail_errno(peer, errno);
        return;
    }
    watch(peer, EPOLL_CTL_ADD, EPOLLOUT);
}

/// Turns the loop until `done()`, the deadline (0: none), an interrupt, or no connection is left.
template <typename Done>
void Generator::turn_until(std::uint64_t deadline_ns, Done done) {
    std::uint64_t patrol_at = now_ns() + patrol_ns;
    std::array<epoll_event, batch> events{};
    while (live_ > 0 && !report_.interrupted && !done()) {
        const std::uint64_t now = now_ns();
        if (deadline_ns != 0 && now >= deadline_ns) return;
        if (now >= patrol_at) {
            look_for_timeouts();
            report_.interrupted = options_.interrupted && options_.interrupted();
            patrol_at = now + patrol_ns;
        }
        const std::uint64_t wake = deadline_ns != 0 ? std::min(deadline_ns, patrol_at) : patrol_at;
        const int wait_ms = wake > now ? static_cast<int>((wake - now) / 1'000'000U + 1) : 0;
        const int count = epoll_wait(poller_, events.data(), batch, wait_ms);
        if (count < 0 && errno != EINTR) fail_setup("epoll_wait");
        for (int i = 0; i < count; ++i) {
            const epoll_event& event = events[static_cast<std::size_t>(i)];
            dispatch(connections_[event.data.u32], event.events);
        }
    }
}

void Generator::dispatch(Connection& peer, std::uint32_t events) {
    if (peer.state == State::connecting) return finish_connect(peer);
    if ((events & EPOLLOUT) != 0 && peer.state == State::open) flush(peer);
    if ((events & ~std::uint32_t{EPOLLOUT}) != 0 && peer.state != State::gone) receive(peer);
}

void Generator::finish_connect(Connection& peer) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(peer.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return fail_errno(peer, error);
    peer.state = State::open;
    --connecting_;
    watch(peer, EPOLL_CTL_MOD, EPOLLIN);
    start_requests(peer);
}

void Generator::receive(Connection& peer) {
    const ssize_t got = recv(peer.fd, scratch_.data(), scratch_.size(), 0);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) fail_errno(peer, errno);
        return;
    }
    if (got > 0) return take(peer, std::span(scratch_).first(static_cast<std::size_t>(got)));
    if (peer.state == State::closing) {
        retire(peer);
    } else {
        fail(peer, report_.failures.early_eof);
    }
}

void Generator::take(Connection& peer, std::span<const std::byte> bytes) {
    const std::uint64_t now = now_ns();
    if (peer.received + bytes.size() > peer.sent) return fail(peer, report_.failures.excess);
    if (!payload_.matches(peer.id, peer.received, bytes)) {
        return fail(peer, report_.failures.mismatched);
    }
    peer.received += bytes.size();
    const std::uint64_t complete = peer.received / payload_.message_bytes();
    for (; peer.answered < complete; ++peer.answered) {
        if (!counting_) continue;
        report_.latency.record(now - peer.start_ns[peer.answered % options_.depth]);
        ++report_.requests;
    }
    start_requests(peer);
}

void Generator::start_requests(Connection& peer) {
    if (!starting_) {
        if (peer.answered == peer.started) close_own_half(peer);
        return;
    }
    const std::uint64_t due = peer.answered + options_.depth;
    if (peer.started == due) return;
    const std::uint64_t now = now_ns();
    for (; peer.started < due; ++peer.started) {
        peer.start_ns[peer.started % options_.depth] = now;
    }
    if (!peer.wants_write) flush(peer);
}

/// Sends what has been started; the stream is generated anew from where the socket stopped taking.
void Generator::flush(Connection& peer) {
    const std::uint64_t end = peer.started * payload_.message_bytes();
    while (peer.sent < end) {
        const std::size_t size =
            static_cast<std::size_t>(std::min<std::uint64_t>(scratch_.size(), end - peer.sent));
        payload_.fill(peer.id, peer.sent, std::span(scratch_).first(size));
        const ssize_t taken = send(peer.fd, scratch_.data(), size, MSG_NOSIGNAL);
        if (taken < 0 && errno != EAGAIN && errno != EINTR) return fail_errno(peer, errno);
        if (taken > 0) peer.sent += static_cast<std::uint64_t>(taken);
        if (taken < static_cast<ssize_t>(size)) break;
    }
    const bool wants_write = peer.sent < end;
    if (wants_write == peer.wants_write) return;
    peer.wants_write = wants_write;
    watch(peer, EPOLL_CTL_MOD, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/// Tells the server that nothing more comes; it must now close without sending another byte.
void Generator::close_own_half(Connection& peer) {
    if (shutdown(peer.fd, SHUT_WR) != 0) return fail_errno(peer, errno);
    peer.state = State::closing;
    peer.phase_began_ns = now_ns();
}

void Generator::look_for_timeouts() {
    const std::uint64_t now = now_ns();
    for (Connection& peer : connections_) {
        if (peer.state == State::gone) continue;
        std::uint64_t since = peer.phase_began_ns;
        if (peer.state == State::open) {
            if (peer.answered == peer.started) continue;
            since = peer.start_ns[peer.answered % options_.depth];
        }
        if (now - since > timeout_ns_) fail(peer, report_.failures.timed_out);
    }
}

void Generator::fail_errno(Connection& peer, int error) {
    Failures& failures = report_.failures;
    switch (error) {
        case ECONNREFUSED:
            return fail(peer, failures.refused);
        case ECONNRESET:
        case EPIPE:
            return fail(peer, failures.reset);
        case ETIMEDOUT:
            return fail(peer, failures.timed_out);
        default:
            return fail(peer, failures.other);
    }
}

void Generator::fail(Connection& peer, std::uint64_t& counter) {
    ++counter;
    report_.lost += peer.started - peer.answered;
    if (peer.state == State::connecting) --connecting_;
    retire(peer);
}

void Generator::retire(Connection& peer) {
    close(peer.fd);
    peer.fd = -1;
    peer.state = State::gone;
    --live_;
}

LoadReport Generator::run() {
    connect_all();
    turn_until(0, [this] { return connecting_ == 0; });
    const auto never = [] { return false; };
    turn_until(now_ns() + ns(options_.warmup), never);

    if (options_.window_begins) options_.window_begins();
    counting_ = true;
    const std::uint64_t begin = now_ns();
    turn_until(begin + ns(options_.duration), never);
    report_.seconds = static_cast<double>(now_ns() - begin) / 1e9;
    counting_ = false;
    if (options_.window_ends) options_.window_ends();

    starting_ = false;
    for (Connection& peer : connections_) {
        // The others close their half when the last answer due to them is in.
        if (peer.state == State::open && peer.answered == peer.started) close_own_half(peer);
    }
    turn_until(0, never);
    return report_;
}

}  // namespace

LoadReport run_load(const LoadOptions& options) {
    return Generator(options).run();
}

}  // namespace bench
