module;
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <coroutine>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.master;
import ringfort.process;
import ringfort.shm;
import ringfort.uring;
import ringfort.worker;

namespace ringfort {
namespace {

constexpr std::string_view built_in_name = "built-in configuration";

/// Fills the places of standard streams that the caller has closed. Otherwise the next thing opened
/// takes them, a listener for example, and log lines are written to it.
void fill_standard_streams() noexcept {
    int fd = -1;
    do {
        fd = ::open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) ::close(fd);
}

std::string source_name(const CommandLine& line) {
    return line.config.value_or(std::string{built_in_name});
}

void replace(std::string& text, std::string_view placeholder, const std::string& value) {
    for (auto at = text.find(placeholder); at != text.npos;
         at = text.find(placeholder, at + value.size()))
        text.replace(at, placeholder.size(), value);
}

void print_hint(std::string hint, const cycle::Cycle& cycle) {
    const Address& address = cycle.bindings().front().first().bound();
    replace(hint, "{host}", address.host());
    replace(hint, "{port}", std::to_string(address.port()));
    fmt::print("{}\n", hint);
    std::fflush(stdout);
}

cycle::ZoneRequest counters_request() {
    return {.name = std::string{worker::counters_zone},
            .tag = std::string{worker::counters_tag},
            .size = worker::Counters::zone_size(limits::max_counter_rows),
            .format = [](shm::Zone& zone) -> Result<void> {
                const auto formatted = worker::Counters::format(zone, limits::max_counter_rows);
                if (!formatted) return formatted.error();
                return {};
            }};
}

master::Observation observe(const cycle::Cycle& cycle, std::uint32_t row) {
    for (const cycle::SharedZone& zone : cycle.zones()) {
        if (zone->name() != worker::counters_zone) continue;
        const auto counters = worker::Counters::attach(*zone);
        if (!counters) continue;
        // A worker may have written anything there.
        const Instant pulse = worker::moment_of(counters->get(row, worker::Counter::pulse));
        return {.pulse = std::clamp(pulse, Instant{}, now()),
                .accepted = counters->get(row, worker::Counter::accepted),
                .active = counters->get(row, worker::Counter::active),
                .failed = counters->get(row, worker::Counter::failed)};
    }
    return {.pulse = now()};  // of a table that cannot be read nobody's end is inferred
}

/// How often a worker is to say that it makes progress, so that the watchdog never misses it.
Milliseconds pulse_interval(const config::Master& settings) {
    if (settings.watchdog == Milliseconds{0}) return Milliseconds{0};
    return std::max(settings.watchdog / limits::pulses_per_watchdog, Milliseconds{1});
}

uring::Backend backend_of(config::Driver driver) {
    switch (driver) {
        case config::Driver::automatic:
            return uring::Backend::automatic;
        case config::Driver::io_uring:
            return uring::Backend::io_uring;
        case config::Driver::epoll:
            return uring::Backend::epoll;
    }
    return uring::Backend::automatic;
}

uring::LoopOptions loop_options(const config::Worker& worker) {
    // Enough for one buffer each way of every connection. Some hold more, up to
    // limits::receive_burst and limits::send_behind; what finds none does without.
    const std::uint64_t most = std::uint64_t{2} * worker.connections;
    return {.submissions = worker.ring_submissions,
            .completions = worker.ring_completions,
            .receive_buffers = worker.receive_buffers,
            .max_receive_buffers = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
                most, worker.receive_buffers, limits::max_receive_buffers)),
            .receive_buffer_size = worker.receive_buffer_size,
            .backend = backend_of(worker.driver)};
}

/// Warns before any ring is made when locked memory will not suffice for all of them.
void check_locked_memory(const config::Settings& settings) {
    if (settings.worker.driver == config::Driver::epoll || !rings_are_charged()) return;
    const uring::LoopOptions loop = loop_options(settings.worker);
    const auto facts =
        uring::gather_facts(loop.submissions, loop.completions, loop.max_receive_buffers);
    const auto shortage =
        shortage_of({.workers = settings.master.workers.number.value_or(process::available_cpus()),
                     .ring_bytes = facts.memlock_needed,
                     .limit_bytes = facts.memlock_limit});
    if (shortage) log::warning("{}", *shortage);
}

Result<void> drop_privileges(const std::optional<process::Credentials>& credentials) {
    if (!credentials) return {};
    const auto dropped = credentials->drop();
    if (!dropped) return dropped.error();
    if (*dropped == process::DropOutcome::not_root)
        log::warning("master.user {} has no effect: only root can become another user",
                     credentials->user());
    return {};
}

}  // namespace

App::App(std::string name, std::string description)
    : name_{std::move(name)}, description_{std::move(description)} {}

App& App::built_in(BuiltInConfiguration configuration) {
    built_in_ = std::move(configuration);
    return *this;
}

int App::run(int argc, char** argv) {
    fill_standard_streams();
    process::Title::prepare(argc, argv);
    auto read = read_command_line(name_, description_, argc, argv);
    if (const int* code = std::get_if<int>(&read)) return *code;
    const CommandLine line = std::get<CommandLine>(std::move(read));
    if (line.mode == Mode::control) return control(line);
    if (!line.config && !built_in_) {
        fmt::print(stderr, "{}: no configuration: pass one with -c FILE, or see --help\n", name_);
        return 1;
    }
    auto parsed = load(line);
    if (!parsed) {
        fmt::print(stderr, "{}", parsed.problems().text());
        return 1;
    }
    switch (line.mode) {
        case Mode::serve:
            return serve(line, *std::move(parsed));
        case Mode::test:
            return test(source_name(line), *std::move(parsed));
        case Mode::print:
            fmt::print("{}", config::effective(*parsed, registry_));
            return 0;
        case Mode::signal:
            return signal(line, *parsed);
        case Mode::control:
            break;  // done before
    }
    return 1;
}

config::Parsed App::load(const CommandLine& line) const {
    if (line.config) return config::load(*line.config, registry_);
    return config::parse({.name = std::string{built_in_name}, .text = built_in_->toml}, registry_);
}

int App::serve(const CommandLine& line, config::Settings settings) const {
    log::configure({.level = settings.log.level, .format = settings.log.format});
    check_locked_memory(settings);
    return master::run(application(line), std::move(settings));
}

int App::test(const std::string& source, config::Settings settings) const {
    const auto obstacles = master::try_cycle(application({}), std::move(settings));
    for (const std::string& obstacle : obstacles)
        fmt::print(stderr, "{}: error: {}\n", source, obstacle);
    if (!obstacles.empty()) return 1;
    fmt::print(stderr, "{}: the configuration is good\n", source);
    return 0;
}

int App::signal(const CommandLine& line, const config::Settings& settings) const {
    static const std::map<std::string_view, int> orders{
        {"reload", SIGHUP}, {"quit", SIGQUIT}, {"stop", SIGINT}, {"reopen", SIGUSR1}};
    const std::string& path = settings.master.pid_file;
    if (path.empty()) {
        fmt::print(stderr, "{}: {} sets no master.pid_file, by which -s finds the master\n", name_,
                   source_name(line));
        return 1;
    }
    const auto master = process::find_running(path);
    if (!master) {
        fmt::print(stderr, "{}: no master runs with the pid file {} ({})\n", name_, path,
                   master.error().code().message());
        return 1;
    }
    const auto sent = process::send_signal(master->pidfd, orders.at(line.signal));
    if (!sent) {
        fmt::print(stderr, "{}: process {} cannot be told to {}: {}\n", name_, master->pid,
                   line.signal, sent.error().code().message());
        return 1;
    }
    return 0;
}

int App::control(const CommandLine& line) const {
    std::string path = line.socket.value_or("");
    if (!line.socket) {
        if (!line.config && !built_in_) {
            fmt::print(stderr, "{}: pass -c FILE or --socket FILE, so that ctl finds the master\n",
                       name_);
            return 1;
        }
        const auto parsed = load(line);
        if (!parsed) {
            fmt::print(stderr, "{}{}: with --socket FILE, ctl does without a configuration\n",
                       parsed.problems().text(), name_);
            return 1;
        }
        path = parsed->master.control;
    }
    if (path.empty()) {
        fmt::print(stderr, "{}: {} sets no master.control, by which ctl finds the master\n", name_,
                   source_name(line));
        return 1;
    }
    const auto answer = master::ask(path, line.order);
    if (!answer) {
        fmt::print(stderr, "{}: no answer from a master at {}: {}\n", name_, path,
                   answer.error().text());
        return 1;
    }
    fmt::print(answer->success ? stdout : stderr, "{}", answer->text);
    return answer->success ? 0 : 1;
}

int App::run_worker(master::WorkerStart start) const {
    // The terminal's Ctrl-C reaches the whole group; what the workers do about it is the master's
    // word.
    if (const auto ignored = process::ignore({SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}); !ignored)
        log::warning("{}", ignored.error().text());
    const auto signals = process::SignalFd::open({SIGTERM, SIGQUIT});
    if (!signals) {
        log::error("{}", signals.error().text());
        return 1;
    }
    const config::Worker& settings = start.settings.worker;
    worker::Options options{.loop = loop_options(settings),
                            .connections = settings.connections,
                            .accept_backoff = settings.accept_backoff,
                            .pulse = pulse_interval(start.settings.master),
                            .services = {},
                            .ring_made = [&start] { return drop_privileges(start.credentials); },
                            .signals = signals->fd()};
    for (const auto& [name, factory] : factories_)
        options.services.emplace(name, factory(start.settings));
    return worker::run(std::move(start.to_master), std::move(options));
}

master::Application App::application(const CommandLine& line) const {
    master::Application application{
        .name = name_,
        .load = [this, line] { return load(line); },
        .changes =
            [this](const config::Settings& before, const config::Settings& after) {
                return config::changes(before, after, registry_);
            },
        .zones = {counters_request()},
        .worker = [this](master::WorkerStart start) { return run_worker(std::move(start)); },
        .observe = observe,
        .serving = {}};
    if (!line.config && built_in_ && !built_in_->hint.empty())
        application.serving = [hint = built_in_->hint](const cycle::Cycle& cycle) {
            print_hint(hint, cycle);
        };
    return application;
}

}  // namespace ringfort
