#include "accepts.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

import load;
import ringfort;

namespace bench {
namespace {

namespace rf = ringfort;
using Clock = std::chrono::steady_clock;
using rf::worker::Counter;

constexpr std::uint32_t held_connections = 4'000;
constexpr std::uint32_t churning = 50;  // at a time
constexpr int rounds = 5;
constexpr int stops = 20;
constexpr int visits_a_stop = 20;
constexpr std::size_t request_bytes = 64;
constexpr std::chrono::seconds patience{5};

/// The zone in which the server's workers count: one of the master's memfds.
rf::shm::Zone zone_of(pid_t master) {
    const std::string directory = fmt::format("/proc/{}/fd", master);
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        std::error_code gone;
        const std::string target = std::filesystem::read_symlink(entry.path(), gone);
        if (!target.starts_with("/memfd:")) continue;
        rf::Fd memfd{::open(entry.path().c_str(), O_RDWR | O_CLOEXEC)};
        if (!memfd) continue;
        auto zone = rf::shm::Zone::attach(std::move(memfd), rf::worker::counters_zone,
                                          rf::worker::counters_tag);
        if (zone) return *std::move(zone);
    }
    throw std::runtime_error("the server's counters are not to be found");
}

/// What each worker has accepted so far. The first workers have the first rows.
class AcceptCounts {
public:
    explicit AcceptCounts(const Contestant& server)
        : zone_{zone_of(server.pids().front())}, workers_{server.processes() - 1} {
        auto counters = rf::worker::Counters::attach(zone_);
        if (!counters) throw std::runtime_error(counters.error().text());
        counters_.emplace(*counters);
    }
    [[nodiscard]] std::vector<std::uint64_t> read() const {
        std::vector<std::uint64_t> counts;
        for (std::uint32_t row = 0; row < workers_; ++row)
            counts.push_back(counters_->get(row, Counter::accepted));
        return counts;
    }
    [[nodiscard]] std::vector<std::uint64_t> since(const std::vector<std::uint64_t>& before) const {
        auto counts = read();
        std::transform(counts.begin(), counts.end(), before.begin(), counts.begin(), std::minus{});
        return counts;
    }

private:
    rf::shm::Zone zone_;
    std::optional<rf::worker::Counters> counters_;
    std::size_t workers_;
};

/// Runs a load and returns how unevenly it was shared.
double skew_under(const load::Options& options, const AcceptCounts& counts) {
    const auto before = counts.read();
    const auto report = load::run(options);
    if (!report) throw std::runtime_error("the load could not run: " + report.error().text());
    if (!report->clean()) throw std::runtime_error(load::describe(*report));
    return skew_of(counts.since(before));
}

load::Options load_on(const Contestant& server, load::Mode mode, std::uint32_t connections) {
    load::Options options;
    options.target = *rf::Address::parse(fmt::format("127.0.0.1:{}", server.port()));
    options.mode = mode;
    options.connections = connections;
    options.warmup = std::chrono::milliseconds(0);
    options.duration = std::chrono::milliseconds(300);
    options.timeout = std::chrono::milliseconds(10'000);
    return options;
}

[[noreturn]] void give_up(const char* step) {
    throw std::runtime_error(fmt::format("a visit fails: {}: {}", step, strerror(errno)));
}

/// Waits for an event of a socket, for five seconds at most. Whatever ran in this process before,
/// the end of a ring among it, may interrupt a call.
void await(const rf::Fd& socket, short event, const char* step) {
    const auto deadline = Clock::now() + patience;
    pollfd entry{socket.get(), event, 0};
    while (::poll(&entry, 1, 100) <= 0) {
        if (Clock::now() < deadline) continue;
        errno = ETIMEDOUT;
        give_up(step);
    }
}

rf::Fd connect_to(std::uint16_t port) {
    rf::Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(socket.get(), generic, sizeof address) == 0) return socket;
    if (errno != EINPROGRESS) give_up("connect");
    await(socket, POLLOUT, "connect");
    return socket;
}

/// Connects, has one request answered and closes; returns how long that took. Blocks.
double visit_ms(std::uint16_t port) {
    const auto begun = Clock::now();
    const rf::Fd socket = connect_to(port);
    std::array<char, request_bytes> bytes{};
    const auto whole = static_cast<ssize_t>(bytes.size());
    if (::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) != whole) give_up("send");
    await(socket, POLLIN, "receive");
    if (::recv(socket.get(), bytes.data(), bytes.size(), 0) != whole) give_up("receive");
    return std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
}

/// Opens connections one after the other and keeps them until all are accepted; returns how
/// unevenly that was shared.
double skew_of_singles(const Contestant& server, const AcceptCounts& counts) {
    const auto before = counts.read();
    const auto sum = [](const std::vector<std::uint64_t>& each) {
        return std::accumulate(each.begin(), each.end(), std::uint64_t{0});
    };
    std::vector<rf::Fd> clients;
    for (std::uint32_t i = 0; i < held_connections; ++i)
        clients.push_back(connect_to(server.port()));
    const auto deadline = Clock::now() + patience;
    while (sum(counts.read()) - sum(before) < held_connections) {
        if (Clock::now() > deadline) throw std::runtime_error("a connection is not accepted");
        ::usleep(1'000);
    }
    return skew_of(counts.since(before));
}

/// A process that is stopped as long as this lives.
class Stopped {
public:
    explicit Stopped(pid_t pid) : pid_{pid} {
        ::kill(pid_, SIGSTOP);
        const auto deadline = Clock::now() + std::chrono::seconds(5);
        while (state_of(pid_) != 'T') {
            if (Clock::now() > deadline) throw std::runtime_error("a worker does not stop");
            ::usleep(1'000);
        }
    }
    ~Stopped() { ::kill(pid_, SIGCONT); }
    Stopped(const Stopped&) = delete;
    Stopped& operator=(const Stopped&) = delete;

private:
    pid_t pid_;
};

}  // namespace

double skew_of(const std::vector<std::uint64_t>& counts) {
    const auto sum = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
    if (sum == 0) return 1;
    const auto most = *std::max_element(counts.begin(), counts.end());
    return static_cast<double>(most * counts.size()) / static_cast<double>(sum);
}

Accepts measure_accepts(const Launch& launch, const std::function<bool()>& interrupted) {
    const Contestant server(launch);
    const AcceptCounts counts(server);
    Accepts accepts;
    const auto look = [&] {
        if (interrupted()) throw std::runtime_error("interrupted");
    };
    for (int round = 0; round < rounds; ++round) {
        look();
        accepts.churn_skews.push_back(
            skew_under(load_on(server, load::Mode::churn, churning), counts));
        accepts.held_skews.push_back(
            skew_under(load_on(server, load::Mode::idle, held_connections), counts));
        accepts.single_skews.push_back(skew_of_singles(server, counts));
    }
    const auto pids = server.pids();
    for (int stop = 0; stop < stops; ++stop) {
        look();
        for (int visit = 0; visit < visits_a_stop; ++visit)
            accepts.usual_ms.push_back(visit_ms(server.port()));
        const auto worker = 1 + static_cast<std::size_t>(stop) % (pids.size() - 1);
        const Stopped stopped{pids[worker]};
        for (int visit = 0; visit < visits_a_stop; ++visit)
            accepts.stopped_ms.push_back(visit_ms(server.port()));
    }
    server.require_same_processes();
    return accepts;
}

void add_figures(const Accepts& accepts, Figures& figures) {
    figures["accept skew, churn"] = spread_of(accepts.churn_skews).median;
    figures["accept skew, held"] = spread_of(accepts.held_skews).median;
    figures["accept skew, one by one"] = spread_of(accepts.single_skews).median;
    figures["longest wait with a worker stopped, ms"] =
        spread_of(accepts.stopped_ms).most - spread_of(accepts.usual_ms).median;
}

std::string to_table(const Accepts& accepts) {
    std::string text =
        "\n**Accepting with several workers** (`accepts`)\n\n"
        "| what | figures | median (min..max) |\n|---|---|---|\n";
    const auto row = [&](const char* what, const std::vector<double>& values) {
        const Spread spread = spread_of(values);
        text += fmt::format("| {} | {} | {:.3f} ({:.3f}..{:.3f}) |\n", what, values.size(),
                            spread.median, spread.least, spread.most);
    };
    row("churn: most connections of a worker / mean", accepts.churn_skews);
    row("one by one: most connections of a worker / mean", accepts.single_skews);
    row("held: most connections of a worker / mean", accepts.held_skews);
    row("connect and one request, all workers running, ms", accepts.usual_ms);
    row("the same with one worker stopped, ms", accepts.stopped_ms);
    return text + "\n";
}

}  // namespace bench
