export module ringfort:zones;

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.master;
import ringfort.shm;
import ringfort.std;

export namespace ringfort {

/// A zone that a service uses. A value, made of the service's configuration.
struct ZoneUse {
    std::string zone;     ///< its name
    std::string purpose;  ///< "echo limits/1": a zone serves one; another begins with an empty one
    Bytes size{0};        ///< 0: as a [[zone]] of that name says
    bool reuse = true;    ///< false: each reload makes it anew, whatever others say who use it
    /// Puts into a new one, one that has grown included, what is to be in it from the beginning;
    /// `before` is the one that it takes the place of, to read, nullptr for none. Called in the
    /// process that builds the next cycle; an error keeps the reload from happening. May be empty.
    /// Of several services that use the zone each one's is called, in the order of their names: it
    /// opens what is there, and makes what is not.
    std::function<Result<void>(const shm::Pool& made, const shm::Pool* before)> prepare = {};
};

/// A service that says which zones it uses: `static std::vector<rf::ZoneUse> zones(const Config&)`.
/// It finds them by `Context::pool`.
template <class S>
concept SaysZones = requires(const typename S::Config& config) {
    { S::zones(config) } -> std::same_as<std::vector<ZoneUse>>;
};

}  // namespace ringfort

namespace ringfort {

// What each service uses that says so, by its name.
using ZoneUses =
    std::map<std::string, std::function<std::vector<ZoneUse>(const config::Settings&)>>;

// Returns the zones that a cycle with these settings is to have: the workers' counters, and what
// those services use that have a listener.
std::vector<cycle::ZoneRequest> zone_requests(const config::Settings& settings,
                                              const ZoneUses& uses);

// Prints what is in a zone that lies in a file; returns the exit code.
int show_zone(const std::string& program, const std::string& path);

// Reads what the worker with this row of the counters has written down of itself.
master::Observation observe(const cycle::Cycle& cycle, std::uint32_t row);

}  // namespace ringfort
