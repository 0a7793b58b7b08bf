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
#include <filesystem>
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

/// Enters the working directory of the configuration. The file's own path is made absolute before:
/// it starts from where the caller is.
bool enter(const config::Master& settings, CommandLine& line) {
    if (settings.working_directory.empty()) return true;
    std::error_code failure;
    if (line.config) line.config = std::filesystem::absolute(*line.config, failure).string();
    const auto entered = enter_working_directory(settings);
    if (entered) return true;
    fmt::print(stderr, "{}: error: master.working_directory {}: {}\n", source_name(line),
               settings.working_directory, entered.error().text());
    return false;
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

uring::LoopOptions loop_options(const config::Worker& worker,
                                std::optional<uring::Permits> permits = {}) {
    // Enough for one buffer each way of every connection. Some hold more, up to
    // limits::receive_burst and limits::send_behind; what finds none does without.
    const std::uint64_t most = std::uint64_t{2} * worker.connections;
    return {.submissions = worker.ring_submissions,
            .completions = worker.ring_completions,
            .receive_buffers = worker.receive_buffers,
            .max_receive_buffers = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
                most, worker.receive_buffers, limits::max_receive_buffers)),
            .receive_buffer_size = worker.receive_buffer_size,
            .backend = backend_of(worker.driver),
            .permits = permits};
}

/// Warns before any ring is made, at the start and at each reload, when locked memory will not
/// suffice for all of them.
void check_locked_memory(const config::Settings& settings) {
    if (settings.worker.driver == config::Driver::epoll || !rings_are_charged()) return;
    const uring::LoopOptions loop = loop_options(settings.worker);
    const bool datagrams = std::ranges::any_of(settings.listeners, [](const auto& listener) {
        return listener.protocol == config::Protocol::udp;
    });
    const auto facts =
        uring::gather_facts(loop.submissions, loop.completions, loop.max_receive_buffers,
                            datagrams ? loop.max_message_buffers : 0);
    const auto shortage =
        shortage_of({.workers = settings.master.workers.number.value_or(process::available_cpus()),
                     .ring_bytes = facts.memlock_needed,
                     .limit_bytes = facts.memlock_limit});
    if (shortage) log::warning("{}", *shortage);
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
    const auto program = process::Program::of(argc, argv);
    process::Title::prepare(argc, argv);
    auto read = read_command_line(name_, description_, argc, argv);
    if (const int* code = std::get_if<int>(&read)) return *code;
    CommandLine line = std::get<CommandLine>(std::move(read));
    if (line.mode == Mode::control)
        return line.zone_file.empty() ? control(line) : show_zone(name_, line.zone_file);
    if (!line.config && !built_in_) {
        fmt::print(stderr, "{}: no configuration: pass one with -c FILE, or see --help\n", name_);
        return 1;
    }
    auto parsed = load(line);
    if (!parsed) {
        fmt::print(stderr, "{}", parsed.problems().text());
        master::complain_to_predecessor(parsed.problems());
        return 1;
    }
    if (line.mode == Mode::print) {
        fmt::print("{}", config::effective(*parsed, registry_));
        return 0;
    }
    if (!enter(parsed->master, line)) return 1;
    switch (line.mode) {
        case Mode::serve:
            return serve(line, program, *std::move(parsed));
        case Mode::test:
            return test(line, *std::move(parsed));
        case Mode::signal:
            return signal(line, *parsed);
        case Mode::print:
        case Mode::control:
            break;  // done before
    }
    return 1;
}

config::Read App::read(const CommandLine& line) const {
    if (line.config) return config::read(*line.config);
    return config::Source{.name = std::string{built_in_name}, .text = built_in_->toml};
}

config::Parsed App::load(const CommandLine& line) const {
    const config::Read text = read(line);
    if (const auto* problems = std::get_if<config::Problems>(&text)) return *problems;
    config::Source source = std::get<config::Source>(text);
    source.overrides = line.overrides;
    return config::parse(source, registry_);
}

int App::serve(const CommandLine& line, const process::Program& program,
               config::Settings settings) const {
    log::configure({.level = settings.log.level, .format = settings.log.format});
    check_locked_memory(settings);
    if (line.single) return serve_alone(line, std::move(settings));
    Confinement{settings, reaches_}.warn();
    master::Application made = application(line, settings.master);
    made.program = program;
    if (settings.master.daemon && !master::has_predecessor()) {
        const auto objection = objection_to_daemon();
        if (!objection) return serve_in_background(std::move(made), std::move(settings));
        log::warning("{}", *objection);
    }
    return master::run(made, std::move(settings));
}

/// The error of a start goes to standard error, and its exit code to the caller, from the daemon as
/// without one.
int App::serve_in_background(master::Application made, config::Settings settings) {
    auto became = process::become_daemon();
    if (!became) {
        log::error("master.daemon: {}", became.error().text());
        return 1;
    }
    if (const int* code = std::get_if<int>(&*became)) return *code;
    made.serving = [starter = std::make_shared<process::Starter>(
                        std::get<process::Starter>(*std::move(became)))](const cycle::Cycle&) {
        log::let_go_of_standard_error();  // that of the caller, who may wait for its end
        starter->report_success();
    };
    return master::run(made, std::move(settings));
}

int App::serve_alone(const CommandLine& line, config::Settings settings) const {
    const SingleApplication application{
        .load = [this, line, parse = parser(line, settings.master)]() -> config::Parsed {
            const config::Read text = read(line);
            if (const auto* problems = std::get_if<config::Problems>(&text)) return *problems;
            return parse(std::get<config::Source>(text));
        },
        .zones = zones(),
        .worker = [this](const config::Settings& of_cycle) { return worker_options(of_cycle, {}); },
        .serving = hint(line)};
    return Single{application}.run(std::move(settings));
}

int App::test(const CommandLine& line, config::Settings settings) const {
    const master::Application made = application(line, settings.master);
    const auto obstacles = master::try_cycle(made, std::move(settings));
    for (const std::string& obstacle : obstacles)
        fmt::print(stderr, "{}: error: {}\n", source_name(line), obstacle);
    if (!obstacles.empty()) return 1;
    if (!line.quiet) fmt::print(stderr, "{}: the configuration is good\n", source_name(line));
    return 0;
}

int App::signal(const CommandLine& line, const config::Settings& settings) const {
    static const std::map<std::string_view, int> orders{{"reload", SIGHUP},
                                                        {"quit", SIGQUIT},
                                                        {"stop", SIGINT},
                                                        {"reopen", SIGUSR1},
                                                        {"upgrade", SIGUSR2}};
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
        CommandLine entered = line;
        if (!path.empty() && !enter(parsed->master, entered)) return 1;
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
    const Confinement confinement{start.settings, reaches_};
    worker::Options options = worker_options(start.settings, confinement.permits());
    options.pulse = pulse_interval(start.settings.master);
    options.orphan_grace = start.settings.master.orphan_grace;
    options.ring_made = [&](uring::Backend backend) {
        return confinement.enter(start.credentials, backend);
    };
    options.signals = signals->fd();
    return worker::run(std::move(start.to_master), std::move(options));
}

worker::Options App::worker_options(const config::Settings& settings,
                                    const std::optional<uring::Permits>& permits) const {
    worker::Options options{.loop = loop_options(settings.worker, permits),
                            .connections = settings.worker.connections,
                            .accept_backoff = settings.worker.accept_backoff,
                            .services = {}};
    for (const auto& [name, factory] : factories_)
        options.services.emplace(name, factory(settings));
    return options;
}

/// Returns what says which zones a cycle needs.
std::function<std::vector<cycle::ZoneRequest>(const config::Settings&)> App::zones() const {
    return [this](const config::Settings& settings) { return zone_requests(settings, zone_uses_); };
}

/// Returns what parses a text that may take the place of the one that the server began with.
std::function<config::Parsed(const config::Source&)> App::parser(
    const CommandLine& line, const config::Master& started) const {
    return
        [this, overrides = line.overrides, started](const config::Source& text) -> config::Parsed {
            auto parsed = config::parse(
                {.name = text.name, .text = text.text, .overrides = overrides}, registry_);
            if (!parsed) return parsed;
            auto problems = changed_since_start(started, parsed->master, text.name);
            if (problems.list.empty()) return parsed;
            return problems;
        };
}

/// Returns what prints the hint of the built-in configuration; nothing with one of a file.
std::function<void(const cycle::Cycle&)> App::hint(const CommandLine& line) const {
    if (line.config || !built_in_ || built_in_->hint.empty()) return {};
    return [hint = built_in_->hint](const cycle::Cycle& cycle) { print_hint(hint, cycle); };
}

master::Application App::application(const CommandLine& line, const config::Master& started) const {
    return {.name = name_,
            .program = {},
            .read = [this, line] { return read(line); },
            .parse = parser(line, started),
            .changes =
                [this](const config::Settings& before, const config::Settings& after) {
                    return config::changes(before, after, registry_);
                },
            .warn = check_locked_memory,
            .zones = zones(),
            .worker = [this](master::WorkerStart start) { return run_worker(std::move(start)); },
            .observe = observe,
            .serving = hint(line)};
}

}  // namespace ringfort
