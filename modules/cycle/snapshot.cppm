module;
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>
export module ringfort.cycle:snapshot;

import ringfort.base;
import ringfort.config;
import :listener;
import :stock;
import :zones;

export namespace ringfort::cycle {

/// A listener and the service that gets its connections in this cycle.
struct Binding {
    std::shared_ptr<Listener> listener;
    config::Listener settings;
    bool carried_over = false;  ///< the predecessor had it too
};

class Cycle;

/// What an address that somebody listens on already means for a build: a test of the configuration
/// of a running server finds that server there.
enum class AddressInUse { is_an_obstacle, is_allowed };

/// What a build came to: a cycle, or at least one obstacle, each a sentence for people.
struct Built {
    std::unique_ptr<Cycle> cycle;
    std::vector<std::string> obstacles;
};

/// See the module's header.
class Cycle {
public:
    /// Builds generation `generation`. Out of `stock` it takes listeners by address and zones by
    /// name, tag and size; everything else it opens. `requests` are the zones needed beside the
    /// configured ones. With obstacles, everything opened is closed again; only a log file that had
    /// to be created stays, empty. Blocks as opening files and binding sockets do.
    [[nodiscard]] static Built build(config::Settings settings, std::uint32_t generation,
                                     Stock stock, const std::vector<ZoneRequest>& requests,
                                     AddressInUse in_use = AddressInUse::is_an_obstacle);
    Cycle(Cycle&&) = delete;

    /// Returns what a successor may take over: listeners that can be reached, and all zones. The
    /// log is none of it: it may have been renamed.
    [[nodiscard]] Stock stock() const;

    /// What the cycle is made of; valid as long as the cycle lives.
    [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
    [[nodiscard]] const config::Settings& settings() const noexcept { return settings_; }
    [[nodiscard]] const std::vector<Binding>& bindings() const noexcept { return bindings_; }
    [[nodiscard]] const std::vector<SharedZone>& zones() const noexcept { return zones_; }
    /// Returns the log file; empty for standard error.
    [[nodiscard]] const Fd& log_file() const noexcept { return log_file_; }

    /// Applies to the listeners taken over what the new settings change. Part of becoming current;
    /// cannot fail.
    void update_listeners() const;
    /// Lets go of the listeners: those no other cycle has are closed. Called when this generation
    /// stops accepting, while its workers may still live.
    void close_listeners() noexcept { bindings_.clear(); }
    /// Opens the log again by its name, after it was rotated. On error the old file stays in use.
    [[nodiscard]] Result<void> reopen_log();

private:
    Cycle(config::Settings settings, std::uint32_t generation)
        : settings_{std::move(settings)}, generation_{generation} {}

    void take_log(std::optional<Fd> stocked, std::vector<std::string>& obstacles);
    void take_listeners(std::vector<StockedListener> stocked, AddressInUse in_use,
                        std::vector<std::string>& obstacles);
    void carry_over(std::vector<StockedListener> stocked);
    void take_zones(const std::vector<SharedZone>& stocked,
                    const std::vector<ZoneRequest>& requests, std::vector<std::string>& obstacles);

    config::Settings settings_;
    std::uint32_t generation_;
    std::vector<Binding> bindings_;
    std::vector<SharedZone> zones_;
    Fd log_file_;
};

}  // namespace ringfort::cycle
