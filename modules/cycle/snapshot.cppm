export module ringfort.cycle:snapshot;

import ringfort.base;
import ringfort.config;
import ringfort.std;
import :listener;
import :plan;
import :stock;
import :zones;

export namespace ringfort::cycle {

/// An address and the service that gets its connections in this cycle.
struct Binding {
    /// By slot, in the order of the kernel's group: with `reuseport` one for each worker, else one
    /// for all. Those from `served` on are orphans: an older cycle had more workers, and what waits
    /// in them is to be served before they are closed.
    std::vector<std::shared_ptr<Listener>> listeners;
    config::Listener settings;
    Owner owner = {};
    std::size_t served = 1;
    bool carried_over = false;  ///< the predecessor had it too
    bool directed = true;       ///< orphans get no new connections

    /// Returns the one that there always is in a cycle that serves.
    [[nodiscard]] const Listener& first() const noexcept { return *listeners.front(); }
    /// Tells whether one socket in this slot is for the worker of that slot alone.
    [[nodiscard]] bool has_own(std::size_t slot) const noexcept {
        return slot < listeners.size() && (settings.reuseport || slot > 0);
    }
};

/// Which of a cycle's sockets: the index of its binding, and its slot there.
struct Place {
    std::size_t binding = 0;
    std::size_t slot = 0;
};

class Cycle;

/// What an address that somebody listens on already means for a build: a test of the configuration
/// of a running server finds that server there.
enum class AddressInUse { is_an_obstacle, is_allowed };

/// What a build depends on beside settings and stock.
struct BuildOptions {
    AddressInUse in_use = AddressInUse::is_an_obstacle;
    std::uint32_t workers = 1;  ///< how many sockets a listener with `reuseport` is to have
    /// Is called with each listener as soon as it is opened, whatever becomes of the build.
    std::function<void(const Listener&)> opened = {};
    /// Opens a pool of the stock, to go on with what is in it in a larger one; without, such a one
    /// is empty.
    OpenPool open_pool = {};
    Bytes max_grown_content = limits::max_grown_content;  ///< of a pool that becomes larger
    /// To be given up, whatever comes of it, and to leave no trace in what the stock has: what
    /// becomes of zones is decided as it would be with `open_pool`, but none is made, nothing is
    /// copied or prepared, and no pool's lock waited for; no socket is bound beside one there is.
    bool dry = false;
};

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
    /// configured ones, or as them. With obstacles, everything opened is closed again; only a log
    /// file that had to be created stays, empty. Blocks as opening files and binding sockets do. Of
    /// the sockets that come to those taken over none listens yet: nobody would serve what they
    /// got, were this cycle given up.
    [[nodiscard]] static Built build(config::Settings settings, std::uint32_t generation,
                                     Stock stock, const std::vector<ZoneRequest>& requests,
                                     const BuildOptions& options = {});
    Cycle(Cycle&&) = delete;

    /// Returns what a successor may take over: listeners that can be reached, and all zones. The
    /// log is none of it: it may have been renamed.
    [[nodiscard]] Stock stock() const;

    /// What the cycle is made of; valid as long as the cycle lives.
    [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
    [[nodiscard]] const config::Settings& settings() const noexcept { return settings_; }
    [[nodiscard]] const std::vector<Binding>& bindings() const noexcept { return bindings_; }
    [[nodiscard]] const std::vector<SharedZone>& zones() const noexcept { return zones_; }
    /// Returns what became of each zone when the cycle was built; if that was dry, what would have,
    /// and `zones` are those that are kept.
    [[nodiscard]] const std::vector<ZoneFate>& zone_fates() const noexcept { return zone_fates_; }
    /// Returns the log file; empty for standard error.
    [[nodiscard]] const Fd& log_file() const noexcept { return log_file_; }

    /// Applies to the listeners taken over what the new settings change, has the new sockets beside
    /// them listen, and no new connections go to orphans. Part of becoming current; cannot fail: a
    /// socket that cannot listen is done without. Returns the sockets that began to listen.
    std::vector<Place> update_listeners();
    /// Returns how many slots have sockets of their own, those of orphans included; 0: none.
    [[nodiscard]] std::uint32_t slots() const noexcept;
    /// Returns the orphaned sockets.
    [[nodiscard]] std::vector<Place> orphans() const;
    /// Tells whether the orphans can be closed: they get no new connections, and none waits.
    [[nodiscard]] bool orphans_are_idle() const noexcept;
    /// Closes the orphans, whoever else has them.
    void end_orphans();
    /// Lets go of the listeners: those no other cycle has are closed. Called when this generation
    /// stops accepting, while its workers may still live.
    void close_listeners() noexcept { bindings_.clear(); }
    /// Opens the log again by its name, after it was rotated. On error the old file stays in use.
    [[nodiscard]] Result<void> reopen_log();

private:
    Cycle(config::Settings settings, std::uint32_t generation)
        : settings_{std::move(settings)}, generation_{generation} {}

    void take_log(std::optional<Fd> stocked, std::vector<std::string>& obstacles);
    void take_listeners(Stock stock, const BuildOptions& options,
                        std::vector<std::string>& obstacles);
    void carry_over(std::vector<Group> stocked);
    static Result<void> open_missing(Binding& binding, const BuildOptions& options);
    void take_zones(const Stock& stock, const std::vector<ZoneRequest>& requests,
                    const BuildOptions& options, std::vector<std::string>& obstacles);
    void make(const ZoneRequest& request, const ZonePlan& plan, const OpenPool& open,
              std::vector<std::string>& obstacles);

    config::Settings settings_;
    std::uint32_t generation_;
    std::vector<Binding> bindings_;
    std::vector<SharedZone> zones_;
    std::vector<ZoneFate> zone_fates_;
    Fd log_file_;
};

}  // namespace ringfort::cycle
