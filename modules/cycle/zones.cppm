module;
#include <functional>
#include <memory>
#include <string>
export module ringfort.cycle:zones;

import ringfort.base;
import ringfort.shm;

export namespace ringfort::cycle {

/// A zone that the cycle is to have, beside those of the configuration.
struct ZoneRequest {
    std::string name;
    std::string tag;  ///< says what the content is; empty for a zone of the configuration
    Bytes size;
    /// Lays out a new zone; not called for one that is carried over. May be empty.
    std::function<Result<void>(shm::Zone&)> format = {};
};

/// A zone, held by every cycle that has it.
using SharedZone = std::shared_ptr<shm::Zone>;

/// Makes a zone and lays it out. Errors: those of `shm::Zone::create` and of `request.format`.
[[nodiscard]] Result<SharedZone> make_zone(const ZoneRequest& request);

/// Says whether a zone may go on as the requested one: name, tag and size agree.
[[nodiscard]] bool fits(const shm::Zone& zone, const ZoneRequest& request);

}  // namespace ringfort::cycle
