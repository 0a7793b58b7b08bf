export module ringfort:app;

import ringfort.base;
import ringfort.config;
import ringfort.coro;
import ringfort.cycle;
import ringfort.master;
import ringfort.net;
import ringfort.process;
import ringfort.std;
import ringfort.uring;
import ringfort.worker;
import :command_line;
import :confinement;
import :reach;
import :zones;

export namespace ringfort {

/// A service as an application declares it: a name, a configuration with its schema, and `serve`,
/// `on_datagram` or both.
/// It is made with its configuration, `S{config}`, where it can be; otherwise by default.
template <class S>
concept DeclaredService = worker::Serves<S> && requires {
    { S::name } -> std::convertible_to<std::string_view>;
    { S::schema() } -> std::same_as<config::Table<typename S::Config>>;
};

/// What a program does that is started without `-c`.
struct BuiltInConfiguration {
    std::string toml;
    /// Printed to standard output when the program serves; "{host}" and "{port}" become those of
    /// the first listener.
    std::string hint = {};
};

/// A program made of services: reads the command line and the configuration, becomes the master,
/// and its children become workers. `App{"echo"}.service<Echo>().run(argc, argv)` is a whole main.
class App {
public:
    /// `name` is shown in process titles, `--help` and `-V`.
    explicit App(std::string name, std::string description = {});

    /// Adds a service: listeners name it, its configuration is the table [service.NAME].
    template <DeclaredService S>
    App& service() {
        using Config = typename S::Config;
        const std::string name{std::string_view{S::name}};
        registry_.add<Config>(
            name, S::schema(),
            {.connections = worker::TakesConnections<S>, .datagrams = worker::TakesDatagrams<S>});
        factories_[name] = [name](const config::Settings& settings) -> worker::ServiceFactory {
            return [&config = settings.service<Config>(name)] { return make<S>(config); };
        };
        if constexpr (SaysReach<S>)
            reaches_[name] = [name](const config::Settings& settings) {
                return S::reach(settings.service<Config>(name));
            };
        if constexpr (SaysZones<S>)
            zone_uses_[name] = [name](const config::Settings& settings) {
                return S::zones(settings.service<Config>(name));
            };
        return *this;
    }

    /// Sets the configuration for a start without `-c`; without one, such a start is refused.
    App& built_in(BuiltInConfiguration configuration);

    /// Runs the program to its end; see `--help`. Returns the exit code for main: 0 after a stop
    /// that was asked for, 1 when it could not start. Blocks.
    [[nodiscard]] int run(int argc, char** argv);

private:
    template <class S>
    static std::unique_ptr<worker::Service> make(const typename S::Config& config) {
        if constexpr (requires { S{config}; })
            return std::make_unique<worker::ServiceOf<S>>(S{config});
        else
            return std::make_unique<worker::ServiceOf<S>>(S{});
    }

    [[nodiscard]] config::Read read(const CommandLine& line) const;
    [[nodiscard]] config::Parsed load(const CommandLine& line) const;
    [[nodiscard]] int serve(const CommandLine& line, const process::Program& program,
                            config::Settings settings) const;
    [[nodiscard]] static int serve_in_background(master::Application made,
                                                 config::Settings settings);
    [[nodiscard]] int serve_alone(const CommandLine& line, config::Settings settings) const;
    [[nodiscard]] int test(const CommandLine& line, config::Settings settings) const;
    [[nodiscard]] int signal(const CommandLine& line, const config::Settings& settings) const;
    [[nodiscard]] int control(const CommandLine& line) const;
    [[nodiscard]] worker::Options worker_options(
        const config::Settings& settings, const std::optional<uring::Permits>& permits) const;
    [[nodiscard]] int run_worker(master::WorkerStart start) const;
    [[nodiscard]] std::function<std::vector<cycle::ZoneRequest>(const config::Settings&)> zones()
        const;
    [[nodiscard]] std::function<config::Parsed(const config::Source&)> parser(
        const CommandLine& line, const config::Master& started) const;
    [[nodiscard]] std::function<void(const cycle::Cycle&)> hint(const CommandLine& line) const;
    [[nodiscard]] master::Application application(const CommandLine& line,
                                                  const config::Master& started) const;

    std::string name_;
    std::string description_;
    std::optional<BuiltInConfiguration> built_in_;
    config::Registry registry_;
    std::map<std::string, std::function<worker::ServiceFactory(const config::Settings&)>>
        factories_;
    Reaches reaches_;     ///< of the services that say it
    ZoneUses zone_uses_;  ///< likewise
};

}  // namespace ringfort
