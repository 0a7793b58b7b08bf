module;
#include <ringfort/try.h>

/// How many connections a client may have, and how often it may come: counted in a zone, for all
/// workers together. What a killed worker held is given back; a reload and an upgrade go on with
/// what was counted.
export module echo:limit;

import ringfort;
import ringfort.std;
namespace rf = ringfort;

export class ClientLimit {
public:
    struct Config {
        std::string zone;
        std::uint32_t connections = 0;
        std::uint32_t rate = 0;
        rf::Milliseconds per{1'000};
        std::uint32_t burst = 1;
        std::uint32_t clients = 10'000;
    };
    static auto schema() {
        return rf::config::table<Config>(
                   "What one client, an address without its port, may do. A connection beyond it "
                   "is "
                   "closed.")
            .field("zone", &Config::zone, "where clients are counted; empty: nowhere, no limit")
            .field("connections", &Config::connections, "at the same time; 0: any number")
            .field("rate", &Config::rate, "new connections in `per_ms`; 0: any number")
            .field("per_ms", &Config::per, "see `rate`", {.min = 1, .max = 86'400'000})
            .field("burst", &Config::burst, "new connections at once, after a pause", {.min = 1})
            .field("clients", &Config::clients,
                   "clients at a time that are found quickly; fixed when the zone is new",
                   {.min = 1, .max = 10'000'000})
            .check([](const Config& config, rf::config::Faults& faults) {
                if (config.zone.empty() && (config.connections > 0 || config.rate > 0))
                    faults.add({{faults.has({"rate"}) ? "rate" : "connections"},
                                "there is no `zone` to count in",
                                "name a [[zone]] in `zone`"});
            });
    }
    /// Returns what the limit uses: nothing without a zone.
    static std::vector<rf::ZoneUse> zones(const Config& config) {
        if (config.zone.empty()) return {};
        return {{.zone = config.zone, .purpose = "client limits/1"}};
    }

    explicit ClientLimit(Config config) : config_{std::move(config)} {}

    /// Opens the counts. Does without when the zone is corrupted, until a reload makes it anew.
    /// Errors: ENOENT for no zone; ENOMEM for one that is too small.
    rf::Result<void> start(rf::worker::Context& context);
    /// Counts a connection of `client`, unless it is one too many. Returns whether it may be
    /// served. Suspends.
    rf::Task<bool> admit(std::string_view client, rf::worker::Context& context);
    /// Gives back what `admit` has counted. Suspends.
    rf::Task<void> leave(std::string_view client, rf::worker::Context& context);

    /// Forgets clients that have not come for a while, in one of the workers.
    rf::Task<rf::Result<void>> work(rf::worker::Context& context);

private:
    struct Counts {
        rf::shm::Pool pool;
        rf::shm::ConnectionLimiter held;
        rf::shm::RateLimiter rate;
    };

    rf::Result<void> open(rf::worker::Context& context);
    rf::Task<rf::Result<bool>> try_to_count(std::string_view client, rf::worker::Context& context);
    /// Forgets clients that may come as if for the first time; returns whether it could look.
    rf::Task<bool> forget_some(rf::worker::Context& context);
    rf::Result<bool> count(rf::shm::Transaction& transaction, std::string_view client) const;
    void warn(std::string_view text, const rf::Error& error);

    Config config_;
    std::optional<Counts> counts_;
    rf::Instant warned_{};
};
